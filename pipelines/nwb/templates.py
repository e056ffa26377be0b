"""Images of the stimulus set of a file: the pictures that its session showed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.nwb.recording import Recording, Rows
from schemas.casts import Ragged

_TEMPLATES = "/stimulus/templates"


def image_names(recording: Recording) -> list[str]:
    """Returns the names of the images of the file's image set, in its order.

    Raises:
        DataError: the file has several sets, or a name repeats.
    """
    if recording.image_set is None:
        return []
    path = f"{_TEMPLATES}/{recording.image_set}/control_description"
    names = [recording.hdf.decode(path, name) for name in recording.hdf.read_strings(path).tolist()]
    # Images are written one by one, so no later check sees two of the same name.
    if len(set(names)) != len(names):
        raise recording.hdf.error(
            path, "an image name repeats", expected="unique names", found=", ".join(names)
        )
    return names


def images_in_order(recording: Recording) -> Iterator[tuple[int, tuple[Any, Any]]]:
    """Yields the number of each image in the order of their names, and the arrays that have them.

    Raises:
        DataError: the arrays of warped and unwarped pictures are not of the same images.
    """
    if recording.image_set is None:
        return
    group = f"{_TEMPLATES}/{recording.image_set}"
    names = image_names(recording)
    warped = recording.hdf.numeric_dataset(f"{group}/data", ndim=3, rows=len(names))
    unwarped = recording.hdf.numeric_dataset(f"{group}/unwarped", ndim=3, rows=len(names))
    if warped.shape != unwarped.shape:
        raise recording.hdf.error(
            group,
            "warped and unwarped images differ in size",
            expected=str(warped.shape),
            found=str(unwarped.shape),
        )
    for name in sorted(names):
        yield names.index(name), (warped, unwarped)


def stimulus_templates(recording: Recording) -> Iterator[Rows]:
    """Yields the images of the file's image set by name, one at a time: a full one is 21 MB."""
    group, names = f"{_TEMPLATES}/{recording.image_set}", image_names(recording)
    for i, _ in images_in_order(recording):
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
    """Returns the lines of pixels by which images are recognised.

    For each image one line of the warped and one of the unwarped picture, both away from the edges,
    which are blank in all images. From a bucket, every line is a request. There are none where the
    file has no templates, or empty ones.

    Raises:
        DataError: the templates are not two arrays of images.
    """
    if recording.image_set is None:
        return []
    found: list[Line] = []
    for thirds, part in enumerate(("data", "unwarped"), start=1):
        path = f"{_TEMPLATES}/{recording.image_set}/{part}"
        dataset = recording.hdf.numeric_dataset(path, ndim=3)
        images, height, _ = dataset.shape
        if height:
            found += [Line(path, dataset, image, thirds * height // 3) for image in range(images)]
    return found


def image_digests(recording: Recording) -> dict[str, str]:
    """Returns a short digest of each image of the file's image set, by image name.

    It is made of the names of set and image, the size, and the sampled lines of pixels: files that
    show the same picture under the same name have the same digest, and it costs a few kB of a set
    of 166 MB. A session shows its set as far as it comes, so two files of one set may have
    different images. Empty where the file has no templates.
    """
    if recording.image_set is None:
        return {}
    group = f"{_TEMPLATES}/{recording.image_set}"
    names = image_names(recording)
    digests = [hashlib.blake2b(digest_size=16) for _ in names]
    for part in ("data", "unwarped"):
        shape = recording.hdf.numeric_dataset(f"{group}/{part}", ndim=3, rows=len(names)).shape
        for name, digest in zip(names, digests, strict=True):
            digest.update(f"{recording.image_set}\n{name}\n{part} {shape[1:]}\n".encode())
    for sample in sampled_lines(recording):
        line = recording.hdf.read_part(sample.path, (sample.image, sample.line))
        digests[sample.image].update(np.asarray(line, dtype="<f8").tobytes())
    return {name: digest.hexdigest() for name, digest in zip(names, digests, strict=True)}
