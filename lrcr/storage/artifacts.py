"""Artifacts on disk: atomic writes, fingerprints, and manifests that record what an artifact was made from."""

import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrcr.errors import ArtifactError

SCHEMA = 2
MANIFEST = "manifest.json"

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux: fcntl.h, linux/fs.h

_REMEDIES = {"index": "name the folder of an index, as `lrcr index` or the stage index writes it"}
"""What to do if there is no manifest of a kind, where users name its folder."""


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; if the block raises nothing, the file is synced and renamed to `path`.

    The temporary name is always the same, so that the next run replaces what a killed run has left.

    Raises:
        ArtifactError: `path` is a folder, or nothing can be written there.
    """
    with _explained(path):
        if path.is_dir():
            raise ArtifactError(f"{path}: is a folder, not a file; name another file")
        temporary = path.with_name(f".{path.name}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def staged_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; if the block raises nothing, it replaces the folder `path`.

    Raises:
        ArtifactError: `path` is a file, or nothing can be written there.
    """
    with _explained(path):
        if path.is_file():
            raise ArtifactError(f"{path}: is a file, not a folder; name another folder")
        temporary = path.with_name(f".{path.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    try:
        yield temporary
        for file in (*temporary.rglob("*"), temporary):
            _sync(file)
        _replace_folder(temporary, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say in one line that nothing can be written at `path`."""
    try:
        yield
    except OSError as error:
        place = f"{path}: cannot be written into {path.parent}"
        raise ArtifactError(f"{place} ({error.strerror}); name another folder") from None


def _replace_folder(new: Path, path: Path) -> None:
    old = path.with_name(f".{path.name}.old")  # exists if a run was killed between the two renames
    shutil.rmtree(old, ignore_errors=True)
    if path.is_symlink():
        path.unlink()
    if path.exists():
        if _exchange(new, path):
            return
        path.rename(old)
    new.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders, so that each exists at any moment; False where the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN is refused."""
    with staged_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path, remedy: str = "run the stage that makes it") -> Any:
    """Read a JSON file.

    Args:
        remedy: if there is no such file, for the error message.

    Raises:
        ArtifactError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; {remedy}") from None
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); name another folder") from None
    except (ValueError, RecursionError) as error:  # no JSON or UTF-8, or nested too deep
        raise ArtifactError(f"{path}: not valid JSON ({error}); make it again") from None


def fingerprint(*parts: Any) -> str:
    """Hash JSON-able `parts` by content: 32 hexadecimal digits, equal for equal parts on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """The hash of a file's contents, in hexadecimal; SHA-256 by default."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """What an artifact is and what it was made from.

    Args:
        kind: "dataset", "model", "descriptors", "codebook" or "index".
        params: the sections of the params that determine its contents.
        inputs: name of each input artifact → its fingerprint.
        facts: counts, sizes and measurements; not part of the fingerprint.
    """

    kind: str
    params: dict[str, Any]
    inputs: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def fingerprint(self) -> str:
        """Identity of the artifact: kind, schema, params and inputs."""
        return fingerprint(self.kind, self.schema, self.params, self.inputs)

    def as_dict(self) -> dict[str, Any]:
        """The manifest as it is stored."""
        return {
            "kind": self.kind,
            "schema": self.schema,
            "fingerprint": self.fingerprint,
            "params": self.params,
            "inputs": self.inputs,
            "facts": self.facts,
        }

    @classmethod
    def from_dict(cls, value: Any, where: Path, kind: str) -> "Manifest":
        """Check a stored manifest.

        Raises:
            ArtifactError: it is of another kind or schema, or incomplete.
        """
        try:
            manifest = cls(value["kind"], value["params"], value["inputs"], value["facts"], value["schema"])
            stored = value["fingerprint"]
        except (KeyError, TypeError):
            raise ArtifactError(f"{where}: not a manifest of lrcr; make the artifact again") from None
        if manifest.kind != kind or manifest.schema != SCHEMA:
            found = f"{manifest.kind} of schema {manifest.schema}"
            raise ArtifactError(f"{where}: holds a {found}, not a {kind} of schema {SCHEMA}; make it again")
        if manifest.fingerprint != stored:
            raise ArtifactError(f"{where}: its fingerprint does not fit its contents; make the artifact again")
        return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Store the manifest of a folder artifact."""
    write_json(folder / MANIFEST, manifest.as_dict())


def open_manifest(folder: Path, kind: str) -> Manifest:
    """Read the manifest of a folder artifact.

    Raises:
        ArtifactError: it is missing, damaged or of another kind.
    """
    remedy = _REMEDIES.get(kind, "run the stage that makes it")
    return Manifest.from_dict(read_json(folder / MANIFEST, remedy), folder / MANIFEST, kind)


def require_params(manifest: Manifest, params: dict[str, Any], where: Path) -> None:
    """Refuse an artifact that was made with other params than the current ones.

    Raises:
        ArtifactError: naming the first key that differs.
    """
    for section, expected in params.items():
        if section in manifest.params and manifest.params[section] != expected:
            key, was, now = first_difference(section, manifest.params[section], expected)
            raise ArtifactError(f"{where}: made with {key} = {was}, but the params now say {now}; run its stage again")


def require_input(manifest: Manifest, name: str, expected: str, where: Path) -> None:
    """Refuse an artifact that was made from another input than the current one.

    Raises:
        ArtifactError: the fingerprints differ.
    """
    if manifest.inputs.get(name) != expected:
        raise ArtifactError(f"{where}: made from another {name} than the present one; run its stage again")


def first_difference(key: str, was: Any, now: Any) -> tuple[str, Any, Any]:
    """The dotted key below `key` of the first value in which two nested dicts differ, and both values."""
    if isinstance(was, dict) and isinstance(now, dict):
        for name in sorted(was.keys() | now.keys()):
            if was.get(name) != now.get(name):
                return first_difference(f"{key}.{name}", was.get(name), now.get(name))
    return key, was, now
