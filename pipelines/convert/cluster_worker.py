"""What runs on a Dask worker: whether it can work for a run, and the conversion of a file.

What a task of Dask returns is bytes, and it raises nothing: errors and results that Dask can pickle
but not load, or not pickle, are never reported to the process that waits for them.
"""

from __future__ import annotations

import pickle
import socket
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.convert.fingerprint import differences, fingerprint
from pipelines.convert.staged import (
    ConvertSettings,
    FileResult,
    staged_images,
    staging_folder,
)
from pipelines.convert.worker import killed_after, processor_seconds
from pipelines.lake.store import S3Store, clear, private
from pipelines.os_errors import first_line, within_limits
from pipelines.release.selection import FileTask
from schemas.checks import Rule
from schemas.errors import ClusterError, LakeError
from schemas.layout import STAGING


@dataclass(frozen=True)
class Order:
    """What a worker is told with each file.

    Attributes:
        settings: where the source and the staging folder are.
        lake: as in `Cluster`.
        probe: name of the file in the staging folder by which a worker knows that it sees it.
        code: `fingerprint` of the process that publishes.
    """

    settings: ConvertSettings
    lake: str | None
    probe: str
    code: dict[str, str]


def answer_probe(settings: ConvertSettings, lake: str | None, name: str) -> str:
    """Writes a file where this worker would stage files, and returns its name.

    Raises:
        OSError, LakeError: the worker does not see the source, or the file of the process that
            publishes, or cannot write.
    """
    own = f"{name}-{uuid.uuid4().hex}"
    if not settings.source.url.startswith("s3://") and not Path(settings.source.url).is_dir():
        raise FileNotFoundError(f"the source {settings.source.url} is not there")
    if lake is not None:
        store = S3Store(lake)
        if not store.exists(f"{STAGING}/{name}"):
            raise FileNotFoundError("this process's object is not there")
        store.write(f"{STAGING}/{own}", b"")
    elif not (settings.staging / name).exists():
        raise FileNotFoundError("it is not there")
    else:
        (settings.staging / own).touch()
    _probed.add(name)
    return own


_probed: set[str] = set()
"""In a worker: the runs for which it was checked that it sees what it must see."""


def convert_there(task: FileTask, order: Order) -> bytes:
    """Converts a file on a worker.

    Returns:
        A pickled `FileResult`, or a text that says why the worker can convert nothing.
    """
    try:
        with killed_after(processor_seconds(task.bytes or 0)):
            return pickle.dumps(_convert_one(task, order))
    except (OSError, LakeError, ClusterError) as error:
        # As on one machine: no other file would find the lake's disk in a better state.
        return pickle.dumps(f"Dask worker on {socket.gethostname()}: {first_line(error)}")
    except BaseException as error:  # noqa: BLE001 - a panic of a library in Rust is no Exception
        return pickle.dumps(failed(task, order.settings, error))


def failed(task: FileTask, settings: ConvertSettings, error: BaseException) -> FileResult:
    """Returns the result of a file whose conversion met what nobody foresaw."""
    text = (
        f"file {task.object.key}: vblake failed with {type(error).__name__}: {first_line(error)}. "
        "Please report this line."
    )
    return FileResult(task, staging_folder(task, settings), error=text, rule=Rule.READER_FAILED)


def _convert_one(task: FileTask, order: Order) -> FileResult:
    """Converts a file; for a lake in a bucket, uploads what is staged."""
    from pipelines.convert.file import convert_file

    if differs := differences(order.code, fingerprint()):
        raise ClusterError(
            f"it has joined later and runs other code: {differs}. Install the same versions there."
        )
    settings, lake = order.settings, order.lake
    if order.probe not in _probed:
        try:
            answer_probe(settings, lake, order.probe)
        except (OSError, LakeError) as error:
            place = lake or settings.staging
            raise ClusterError(
                f"it has joined later and does not see {place} "
                f"as this process does ({first_line(error)})."
            ) from None
    if lake is None:
        with within_limits(settings.staging):
            return convert_file(task, settings)
    store = S3Store(lake)
    own = replace(settings, staging=own_staging(store))
    with within_limits(own.staging):
        private(own.staging)
        result = convert_file(task, own)
    if result.error is None:
        for path in result.folder.iterdir():
            store.publish(path, f"{STAGING}/{result.folder.name}/{path.name}")
        images = staged_images(own.staging, result.images)
        if result.images and not settings.images.issuperset(result.images.values()):
            store.publish(images, f"{STAGING}/images/{images.name}")
    clear(result.folder)
    return result


def own_staging(store: S3Store) -> Path:
    """The folder where a worker stages files before they are uploaded.

    It is not that of the process that publishes, which may run on the same machine.
    """
    return store.staging.with_name(f"{store.staging.name}-worker")
