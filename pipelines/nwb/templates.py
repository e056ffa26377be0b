"""Images of the stimulus set of a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.nwb.recording import Recording, Rows
from schemas.casts import Ragged

_TEMPLATES = "/stimulus/templates"
_SAMPLES = 3
"""Lines of pixels sampled of the warped and of the unwarped images each: from a bucket, every one is a request."""


def _names(recording: Recording, group: str) -> list[str]:
    path = f"{group}/control_description"
    names = [recording.hdf.decode(path, name) for name in recording.hdf.read_strings(path).tolist()]
    # Images go out one by one, so nothing later on sees two of one name.
    if len(set(names)) != len(names):
        raise recording.hdf.error(
            path, "an image name repeats", expected="unique names", found=", ".join(names)
        )
    return names


def stimulus_templates(recording: Recording) -> Iterator[Rows]:
    """The images of the file's image set, one at a time: at full size one is 21 MB."""
    if recording.image_set is None:
        return
    group = f"{_TEMPLATES}/{recording.image_set}"
    names = _names(recording, group)
    warped = recording.hdf.numeric_dataset(f"{group}/data", ndim=3, rows=len(names))
    unwarped = recording.hdf.numeric_dataset(f"{group}/unwarped", ndim=3, rows=len(names))
    if warped.shape != unwarped.shape:
        raise recording.hdf.error(
            group,
            "warped and unwarped images differ in size",
            expected=str(warped.shape),
            found=str(unwarped.shape),
        )
    for i in sorted(range(len(names)), key=names.__getitem__):
        image = recording.hdf.read_part(f"{group}/data", (i,))
        yield Rows(
            {
                "image_name": [names[i]],
                "height": int(image.shape[0]),
                "width": int(image.shape[1]),
                "warped": Ragged.matrix(image[np.newaxis]),
                "unwarped": Ragged.matrix(
                    recording.hdf.read_part(f"{group}/unwarped", (i,))[np.newaxis]
                ),
            },
            1,
        )


@dataclass(frozen=True)
class Line:
    """A line of pixels of an image in the file.

    Attributes:
        path, dataset: where the images are, shape (image, height, width).
        image, line: which.
    """

    path: str
    dataset: Any
    image: int
    line: int


def sampled_lines(recording: Recording) -> list[Line]:
    """The lines that an image set is recognised by: three of the warped and three of the unwarped images, of six images if there are as
    many, at different heights away from the edges, which are blank in all sets. None of a file without templates, or of empty images.

    Raises:
        DataError: the templates are not two arrays of images.
    """
    if recording.image_set is None:
        return []
    found: list[Line] = []
    for first, part in enumerate(("data", "unwarped")):
        path = f"{_TEMPLATES}/{recording.image_set}/{part}"
        dataset = recording.hdf.numeric_dataset(path, ndim=3)
        images, height, _ = dataset.shape
        places = [
            ((2 * i + first) * images // (2 * _SAMPLES), (2 * i + 1) * height // (2 * _SAMPLES))
            for i in range(_SAMPLES)
        ]
        found += [Line(path, dataset, image, line) for image, line in places if images and height]
    return found


def signature(recording: Recording) -> str | None:
    """Short digest of an image set: names, shapes and the sampled lines of pixels.

    Two files with the same set have the same digest; it costs a few kB of a 166 MB set. None where the file has no templates.
    """
    if recording.image_set is None:
        return None
    group = f"{_TEMPLATES}/{recording.image_set}"
    names = _names(recording, group)
    digest = hashlib.blake2b(digest_size=16)
    digest.update("\n".join(names).encode())
    for part in ("data", "unwarped"):
        dataset = recording.hdf.numeric_dataset(f"{group}/{part}", ndim=3, rows=len(names))
        digest.update(f"{part} {dataset.shape} {dataset.dtype}".encode())
    for sample in sampled_lines(recording):
        line = recording.hdf.read_part(sample.path, (sample.image, sample.line))
        digest.update(np.ascontiguousarray(line).tobytes())
    return digest.hexdigest()
