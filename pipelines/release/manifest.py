"""Reads the manifest of a release: which versions of which objects belong to it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote

from pipelines.source.open import Source
from schemas.errors import IntegrityError, ReleaseError, UsageError

PROJECT = "visual-behavior-ophys"
"""The dataset's name: the first part of every key, and `project_name` in every manifest."""

MANIFESTS = f"{PROJECT}/manifests/"

SESSION_TABLES = ("behavior_session_table", "ophys_session_table", "ophys_experiment_table")
CELLS_TABLE = "ophys_cells_table"
"""Present from 1.0.0 on."""

_MANIFEST = re.compile(
    re.escape(MANIFESTS + PROJECT) + r"_project_manifest_v(?P<version>[^/]*)\.json"
)
_VERSION = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")
_URL = re.compile(
    r"https://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}?[a-z0-9])\.s3(?:[.-][a-z0-9-]+)?\.amazonaws\.com/"
    r"(?P<key>[^?#\s\\]+)"
)
_HASH = re.compile(r"[0-9a-f]{128}")
_LONGEST_KEY = 1024
"""Bytes of UTF-8 that S3 allows a key."""
_FILE_ID = re.compile(r"0|[1-9]\d{0,17}")


@dataclass(frozen=True, slots=True)
class ReleaseObject:
    """An object as the manifest pins it.

    Attributes:
        key: key in the bucket, without a leading `/`.
        version_id: version of the object; None if the manifest has none.
        file_hash: BLAKE2b-512 of the whole file, 128 lower-case hexadecimal digits; None if the
            manifest has none.
    """

    key: str
    version_id: str | None
    file_hash: str | None

    def check(self, found_hash: str) -> None:
        """Compares the hash of what was read with that of the manifest, if it has one.

        Raises:
            IntegrityError: they differ.
        """
        if self.file_hash is not None and found_hash != self.file_hash:
            raise IntegrityError(
                f"the content is not what the manifest pins (version {self.version_id})",
                file=self.key,
                expected=f"BLAKE2b-512 {self.file_hash}",
                found=found_hash,
                hint="The copy is damaged or of another version: fetch it again, "
                "or read from the released bucket.",
            )


@dataclass(frozen=True, slots=True)
class Release:
    """The objects of a release.

    Attributes:
        version: X.Y.Z.
        tables: project tables, by the manifest's names.
        files: NWB files, by file_id.
        origin: whose data these are: the bucket in the manifest's URLs, or what made synthetic
            data. Copies of a bucket have the same.
        synthetic: whether the manifest says that the data are synthetic.
    """

    version: str
    tables: Mapping[str, ReleaseObject]
    files: Mapping[int, ReleaseObject]
    origin: str = ""
    synthetic: bool = False


def versions(source: Source) -> list[str]:
    """Lists the releases of a source in the order of their versions, the oldest first.

    Raises:
        UsageError: the source has no manifest, so it is not a copy of the bucket.
        ReleaseError: no manifest has a version X.Y.Z.
        SourceError: the source could not be listed.
    """
    names = [
        match["version"] for key in source.sizes(MANIFESTS) if (match := _MANIFEST.fullmatch(key))
    ]
    if not names:
        raise UsageError(
            f"{source.spec.url} has no release: expected "
            f"{MANIFESTS}{PROJECT}_project_manifest_vX.Y.Z.json, found no such object. "
            f"Give the bucket, or the folder that contains {PROJECT!r}, as the source."
        )
    usable = [name for name in names if _VERSION.fullmatch(name)]
    if not usable:
        shown = ", ".join(n if n.isprintable() else repr(n) for n in sorted(names))
        raise ReleaseError(
            f"{source.spec.url}/{MANIFESTS}: expected manifests of versions X.Y.Z, "
            f"found only {shown}. Check the file names."
        )
    return sorted(usable, key=semantic)


def semantic(version: str) -> tuple[int, ...]:
    """Returns the numbers of a version X.Y.Z, for comparisons.

    >>> semantic("0.10.0") > semantic("0.9.0")
    True
    """
    return tuple(int(part) for part in version.split("."))


def manifest_key(version: str) -> str:
    """Key of a release's manifest.

    >>> manifest_key("1.1.0")
    'visual-behavior-ophys/manifests/visual-behavior-ophys_project_manifest_v1.1.0.json'
    """
    return f"{MANIFESTS}{PROJECT}_project_manifest_v{version}.json"


def load_release(source: Source, version: str = "latest") -> Release:
    """Reads and checks a manifest.

    Args:
        source: bucket or folder.
        version: `latest` or one of `versions(source)`.

    Raises:
        UsageError: there is no such release; the message lists those that exist.
        ReleaseError: an entry of the manifest is missing or wrong.
        SourceError: the manifest could not be read.
    """
    known = versions(source)
    if version == "latest":
        version = known[-1]
    elif version not in known:
        raise UsageError(
            f"There is no release {version!r} in {source.spec.url}. "
            f"Give latest or one of {', '.join(known)}."
        )
    key = manifest_key(version)
    content = source.read(key, None)
    try:
        return _parse(content, version)
    except ReleaseError as error:
        raise ReleaseError(
            f"manifest {key}, {error}. Nothing of this release was read: "
            "compare the manifest with the one in the released bucket."
        ) from None


def _wrong(where: str, expected: str, found: str) -> ReleaseError:
    found = found if len(found) <= 300 else f"{found[:300]}…"
    return ReleaseError(f"{where}: expected {expected}; found {found}")


def _parse(content: bytes, version: str) -> Release:
    """Parses a manifest and checks all of it: its keys become local paths and requests."""
    try:
        manifest: object = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _wrong("the file", "JSON", f"something else ({error})") from None
    top = _mapping(manifest, "the file")
    for field, expected in (
        ("project_name", PROJECT),
        ("manifest_version", version),
        ("metadata_file_id_column_name", "file_id"),
    ):
        if top.get(field) != expected:
            raise _wrong(field, repr(expected), repr(top[field]) if field in top else "nothing")
    tables = _objects(top, "metadata_files")
    needed = SESSION_TABLES if semantic(version) < (1, 0, 0) else (*SESSION_TABLES, CELLS_TABLE)
    if missing := [name for name in needed if name not in tables]:
        raise _wrong(
            "metadata_files", f"the tables {', '.join(needed)}", f"no {', '.join(missing)}"
        )
    files: dict[int, ReleaseObject] = {}
    for file_id, obj in _objects(top, "data_files").items():
        if not _FILE_ID.fullmatch(file_id):
            expected = "a file_id: a whole number without sign or leading zeros"
            raise _wrong(f"data_files[{file_id!r}]", expected, repr(file_id))
        files[int(file_id)] = obj
    if not files:
        raise _wrong("data_files", "the NWB files of the release", "none")
    synthetic = _synthetic(top)
    return Release(version, tables, files, synthetic or _bucket(top), bool(synthetic))


def _synthetic(top: Mapping[str, Any]) -> str:
    """What made the data, if a step of the manifest's data_pipeline says that they are synthetic.

    >>> _synthetic({"data_pipeline": [{"name": "vblake sample", "comment": "synthetic (seed 7)"}]})
    'vblake sample, synthetic (seed 7)'
    """
    steps = top.get("data_pipeline")
    for step in cast("list[object]", steps) if isinstance(steps, list) else []:
        if isinstance(step, dict) and "synthetic" in str(step.get("comment", "")).lower():
            said = f"{step.get('name', 'unknown')}, {step['comment']}"
            return "".join(c if c.isprintable() else " " for c in said[:200])
    return ""


def _bucket(top: Mapping[str, Any]) -> str:
    """The buckets in the URLs of the data files, which `_objects` has checked."""
    matches = (_URL.match(entry["url"]) for entry in top["data_files"].values())
    return " and ".join(sorted({match["bucket"] for match in matches if match}))


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(where, "a JSON object", f"a {type(value).__name__}")
    return cast("dict[str, Any]", value)


def _objects(top: Mapping[str, Any], section: str) -> dict[str, ReleaseObject]:
    if section not in top:
        raise _wrong(section, "an object with url, version_id and file_hash for each file", "none")
    entries = _mapping(top[section], section)
    return {name: _object(entry, f"{section}[{name!r}]") for name, entry in entries.items()}


def _object(entry: object, where: str) -> ReleaseObject:
    fields = _mapping(entry, where)
    if missing := [name for name in ("url", "version_id", "file_hash") if name not in fields]:
        raise _wrong(where, "url, version_id and file_hash", f"no {', '.join(missing)}")
    version_id, file_hash = fields["version_id"], fields["file_hash"]
    if version_id is not None and not (
        isinstance(version_id, str) and version_id and version_id.isprintable()
    ):
        expected = "the version of an S3 object, or null"
        raise _wrong(f"{where}.version_id", expected, repr(version_id))
    if file_hash is not None and not (isinstance(file_hash, str) and _HASH.fullmatch(file_hash)):
        expected = "a BLAKE2b-512 of 128 hexadecimal digits, or null"
        raise _wrong(f"{where}.file_hash", expected, repr(file_hash))
    key = _key(fields["url"])
    if key is None:
        expected = (
            f"https://<bucket>.s3.<region>.amazonaws.com/{PROJECT}/<key> without query, with a key "
            f"of at most {_LONGEST_KEY} bytes without '.', '..', empty parts, backslashes and "
            "control characters"
        )
        raise _wrong(f"{where}.url", expected, _shown(fields["url"]))
    return ReleaseObject(key, version_id, file_hash)


def _key(url: object) -> str | None:
    """The object key of a URL, percent-decoded once; None if it is no plain key of the project."""
    match = _URL.fullmatch(url) if isinstance(url, str) else None
    try:
        key = unquote(match["key"], errors="strict") if match else ""
    except UnicodeDecodeError:
        return None
    plain = key.isprintable() and "\\" not in key and not {"", ".", ".."} & set(key.split("/"))
    inside = key.startswith(f"{PROJECT}/")
    return key if plain and inside and len(key.encode()) <= _LONGEST_KEY else None


def _shown(url: object) -> str:
    """A URL for an error message, without passwords and signatures."""
    if not isinstance(url, str):
        return repr(url)
    address, mark, _ = re.sub(r"//[^/]*@", "//…@", url).replace("#", "?").partition("?")
    return repr(address + (f"{mark}…" if mark else ""))
