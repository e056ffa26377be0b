"""Opens the NWB file of a task: in place in a folder, by byte ranges or as a whole in a bucket."""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from pipelines.convert.staged import ConvertSettings
from pipelines.nwb.prefetch import load_metadata, prefetch
from pipelines.nwb.recording import Recording, open_recording
from pipelines.release.selection import FileTask
from pipelines.source.base import Traffic
from pipelines.source.folder import FolderSource
from pipelines.source.open import open_source

_POLL_S = 0.01


@contextmanager
def opened(
    task: FileTask,
    settings: ConvertSettings,
    tables: Sequence[str],
    traffic: Traffic,
    folder: Path,
    *,
    signature: bool = False,
    turns: int = 0,
) -> Generator[Recording]:
    """Opens the file of a task for the readers.

    A file in a folder is opened in place. Of one in a bucket, the byte ranges that `tables` need
    are fetched ahead; with `verify_hash` the whole file is fetched, checked, read and deleted.

    Args:
        task: the file.
        settings: where it is, and whether to check its hash.
        tables: the tables that will be read, in this order.
        traffic: counts the bytes that are fetched.
        folder: for temporary files: a whole file while it is read, traces too large for memory.
        signature: also fetch what the digest of the image set is computed from.
        turns: how many files that wait in this way may be fetched at a time; 0: do not wait.

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
            with closing(remote):
                load_metadata(remote, tables, signature=signature)
                with open_recording(remote, obj.key, folder) as recording:
                    remote.pause()
                    prefetch(recording, tables, remote, signature=signature)
                    remote.go_on(_turn_to_fetch(settings.staging, turns))
                    yield recording
        finally:
            # Readers may take bytes that could not be fetched for something missing in the file.
            if remote.failure is not None:
                raise remote.failure from None


def _turn_to_fetch(staging: Path, turns: int) -> Callable[[], object] | None:
    """Waits until fewer files than there are turns are being fetched; who came first is first.

    On a slow link, those that are converted then get all of it, and the next begin when these need
    it no more. If all were fetched at a time, the next would have filled their memory early, and
    the link would be idle during the last second of each conversion.

    Returns:
        What gives the turn back, which is a lock on a file: the kernel frees it, too, if this
        process dies. None if there are no turns.
    """
    if not turns:
        return None
    with (staging / "fetching-next").open("wb") as next_one:
        fcntl.flock(next_one, fcntl.LOCK_EX)
        while True:
            for number in range(turns):
                turn = (staging / f"fetching-{number}").open("wb")
                try:
                    fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    turn.close()
                else:
                    return turn.close
            time.sleep(_POLL_S)


def _digest(path: Path) -> str:
    """Returns the BLAKE2b-512 hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
