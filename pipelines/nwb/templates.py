"""Images of the stimulus set of a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from pipelines.nwb.recording import Recording, Rows
from schemas.casts import Ragged

_TEMPLATES = "/stimulus/templates"
_SAMPLED_LINES = 8


def _names(recording: Recording, group: str) -> list[str]:
    path = f"{group}/control_description"
    names = [recording.hdf.decoded(path, name) for name in recording.hdf.words(path).tolist()]
    # Images go out one by one, so nothing later on sees two of one name.
    if len(set(names)) != len(names):
        raise recording.hdf.error(path, "an image name repeats", expected="unique names", found=", ".join(names))
    return names


def stimulus_templates(recording: Recording) -> Iterator[Rows]:
    """The images of the file's image set, one at a time: at full size one is 21 MB."""
    if recording.image_set is None:
        return
    group = f"{_TEMPLATES}/{recording.image_set}"
    names = _names(recording, group)
    warped = recording.hdf.checked(f"{group}/data", ndim=3, rows=len(names))
    unwarped = recording.hdf.checked(f"{group}/unwarped", ndim=3, rows=len(names))
    if warped.shape != unwarped.shape:
        raise recording.hdf.error(group, "warped and unwarped images differ in size", expected=str(warped.shape), found=str(unwarped.shape))
    for i in sorted(range(len(names)), key=names.__getitem__):
        image = recording.hdf.part(f"{group}/data", warped, i)
        yield Rows(
            {
                "image_name": [names[i]],
                "height": int(image.shape[0]),
                "width": int(image.shape[1]),
                "warped": Ragged.matrix(image[np.newaxis]),
                "unwarped": Ragged.matrix(recording.hdf.part(f"{group}/unwarped", unwarped, i)[np.newaxis]),
            },
            1,
        )


def signature(recording: Recording) -> str | None:
    """Short digest of an image set: names, shapes and a few lines of pixels of every image.

    Two files with the same set have the same digest; it costs a few kB of a 166 MB set. None where the file has no templates.
    """
    if recording.image_set is None:
        return None
    group = f"{_TEMPLATES}/{recording.image_set}"
    names = _names(recording, group)
    digest = hashlib.blake2b(digest_size=16)
    digest.update("\n".join(names).encode())
    for part in ("data", "unwarped"):
        dataset = recording.hdf.checked(f"{group}/{part}", ndim=3, rows=len(names))
        digest.update(f"{part} {dataset.shape} {dataset.dtype}".encode())
        height: int = dataset.shape[1]
        # Distinct lines, evenly spread from the first to the last; none of images without any.
        lines = sorted({i * (height - 1) // (_SAMPLED_LINES - 1) for i in range(_SAMPLED_LINES)}) if height else []
        for i in range(len(names) if lines else 0):
            line = recording.hdf.part(f"{group}/{part}", dataset, (i, lines[i % len(lines)]))
            digest.update(np.ascontiguousarray(line).tobytes())
    return digest.hexdigest()
