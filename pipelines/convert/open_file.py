"""Opens the NWB file of a task, from a folder or by byte ranges of an object."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager

from pipelines.convert.staged import (
    ConvertSettings,
)
from pipelines.convert.whole_file import FileCache, digest
from pipelines.nwb.prefetch import prefetch
from pipelines.nwb.recording import Recording, open_recording
from pipelines.release.selection import FileTask
from pipelines.source.base import Traffic
from pipelines.source.open import open_source
from pipelines.source.range_file import RangeFile


@contextmanager
def opened(
    task: FileTask,
    settings: ConvertSettings,
    tables: Sequence[str],
    traffic: Traffic,
    *,
    signature: bool = False,
) -> Generator[Recording]:
    """The file of a task. The one seam between sources and readers.

    A file of a local folder is opened in place, with `verify_hash` after its hash was checked. Of a remote object just the ranges that
    `tables` are read from are fetched, ahead of the readers, and with `signature` those that the digest of the image set is made of; or,
    with `verify_hash`, the whole object. What that costs is added to `traffic`.

    Raises:
        SourceError: the file cannot be fetched.
        NotNwbError: it is not a file of this dataset.
        IntegrityError: with `verify_hash`, its content is not what the manifest pins.
    """
    source, obj = open_source(settings.source, traffic), task.object
    local = source.local_path(obj.key)
    if local is not None:
        if settings.verify_hash:
            obj.check(digest(local))
        with open_recording(local, obj.key) as recording:
            yield recording
    elif settings.verify_hash:
        with (
            FileCache(settings.cache, settings.cache_bytes).get(source, obj) as cached,
            open_recording(cached.path, obj.key) as recording,
        ):
            yield recording
    else:
        pinned = source.pin(obj.key, obj.version_id)
        remote = RangeFile(
            lambda start, stop: source.read_range(pinned, start, stop),
            pinned.size,
            abandon=source.close,
        )
        try:
            # The file object is closed last: h5py still asks it while it closes its own.
            with closing(remote), open_recording(remote, obj.key) as recording:
                prefetch(recording, tables, remote, signature=signature)
                yield recording
        finally:
            # Whatever a reader made of it: what could not be fetched was not missing in the file.
            if remote.failure is not None:
                raise remote.failure from None
