"""Opens the NWB file of a task: in place in a folder, by byte ranges or as a whole in a bucket."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from pipelines.convert.staged import ConvertSettings
from pipelines.nwb.prefetch import prefetch
from pipelines.nwb.recording import Recording, open_recording
from pipelines.release.selection import FileTask
from pipelines.source.base import Traffic
from pipelines.source.folder import FolderSource
from pipelines.source.open import open_source


@contextmanager
def opened(
    task: FileTask,
    settings: ConvertSettings,
    tables: Sequence[str],
    traffic: Traffic,
    folder: Path,
    *,
    signature: bool = False,
) -> Generator[Recording]:
    """Opens the file of a task for the readers.

    A file in a local folder is opened in place. From a bucket, only the byte ranges that `tables`
    need are fetched, ahead of the readers; with `verify_hash` the whole file is fetched, checked,
    read and deleted.

    Args:
        task: the file.
        settings: where it is, and whether to check its hash.
        tables: the tables that will be read, in this order.
        traffic: counts the bytes that are fetched.
        folder: for temporary files: a whole file while it is read, traces too large for memory.
        signature: also fetch what the digest of the image set is computed from.

    Raises:
        SourceError: the file cannot be fetched.
        NotNwbError: it is not a file of this dataset.
        IntegrityError: with `verify_hash`, its content is not what the manifest pins.
    """
    source, obj = open_source(settings.source, traffic), task.object
    if isinstance(source, FolderSource):
        local = source.path(obj.key)
        if settings.verify_hash:
            obj.check(_digest(local))
        with open_recording(local, obj.key, folder) as recording:
            yield recording
    elif settings.verify_hash:
        whole = folder / "whole.nwb"
        try:
            source.fetch(obj.key, obj.version_id, whole)
            obj.check(_digest(whole))
            with open_recording(whole, obj.key, folder) as recording:
                yield recording
        finally:
            whole.unlink(missing_ok=True)
    else:
        remote = source.open(obj.key, obj.version_id)
        try:
            # The remote file is closed last: h5py still reads from it while it closes its own.
            with closing(remote), open_recording(remote, obj.key, folder) as recording:
                prefetch(recording, tables, remote, signature=signature)
                yield recording
        finally:
            # Readers may take bytes that could not be fetched for something missing in the file.
            if remote.failure is not None:
                raise remote.failure from None


def _digest(path: Path) -> str:
    """Returns the BLAKE2b-512 hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
