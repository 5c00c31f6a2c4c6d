"""What an index folder holds beside the arrays of its engine: model, codebook, params and the table of images.

The fact `beside` of the manifest lists each of these files with its size and hash, as the engine lists its arrays.
Opening an index compares all sizes, and the contents of small files; who reads the model or the table compares its
contents then; `lrcr verify` compares the contents of all files.
"""

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from lrcr.errors import ArtifactError
from lrcr.retrieval.layout import MODEL
from lrcr.storage.arrays import REBUILD, listed_folders
from lrcr.storage.artifacts import MANIFEST, hash_file, open_manifest

Opened = TypeVar("Opened")

_MADE = re.compile(r"\.?((segment|vectors|weights|view|local)-\d+|images(-\d+)?\.parquet|manifest\.json)(\.tmp|\.old)?")
"""The names of what writers make in an index folder; other files there are left alone."""

_SMALL = 2**16  # bytes; hashed at opening: together in less than a millisecond

_TAKE_DESCRIPTORS = "`lrcr search` and `lrcr add` take --descriptors FILE instead"


def list_beside(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """The fact `beside`: size and SHA-256 of some files, and of the files of some folders, of an index folder."""
    roots = [folder / name for name in names]
    files = sorted(file for root in roots for file in (root.iterdir() if root.is_dir() else [root]))
    sizes = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": hash_file(file)} for file in files
    }
    return {"folder": ".", "files": sizes}


def require_beside(folder: Path, facts: dict[str, Any]) -> None:
    """Refuse an index with a file whose size, or whose contents if it is small, are not those that it was made with.

    Args:
        facts: of the manifest of the index.

    Raises:
        ArtifactError: naming the first such file, or the facts list no files.
    """
    try:
        files = {
            folder / name: (stored["bytes"], stored["sha256"]) for name, stored in facts["beside"]["files"].items()
        }
    except (KeyError, TypeError, AttributeError):
        raise ArtifactError(f"{folder / MANIFEST}: lists no files beside the arrays; {REBUILD}") from None
    if missing := [name for name in ("roots", "next_image", "table") if name not in facts]:
        raise ArtifactError(f"{folder / MANIFEST}: has no fact {missing[0]!r}; {REBUILD}")
    for path, (size, sha256) in files.items():
        if not path.is_file():
            raise ArtifactError(f"{path}: no such file; {REBUILD}")
        if (found := path.stat().st_size) != size:
            raise ArtifactError(f"{path}: {found} bytes, not {size} bytes as when the index was made; {REBUILD}")
        if size <= _SMALL and hash_file(path) != sha256:
            raise ArtifactError(f"{path}: altered since the index was made; {REBUILD}")


def has_model(facts: dict[str, Any]) -> bool:
    """Whether an index holds the model of its images; without one, its descriptors are the user's own."""
    return MODEL in facts["beside"]["files"]


def require_model(folder: Path, facts: dict[str, Any], remedy: str = _TAKE_DESCRIPTORS) -> None:
    """Refuse an index of the user's own descriptors, where photos are to be described.

    Args:
        remedy: what to do instead.

    Raises:
        ArtifactError: it is one.
    """
    if not has_model(facts):
        raise ArtifactError(f"{folder}: holds descriptors of your own, and no model of photos; {remedy}")


def listed_names(facts: dict[str, Any]) -> set[str]:
    """What the manifest of an index names in its folder, subfolders by their first part."""
    entries = listed_folders(facts)
    return {Path(entry["folder"], name).parts[0] for entry in entries for name in entry["files"]}


def remove_unlisted(folder: Path) -> None:
    """Remove what writers have made in an index folder and its manifest does not name, or no longer."""
    listed = {MANIFEST, *listed_names(open_manifest(folder, "index").facts)}
    for path in folder.iterdir():
        if _MADE.fullmatch(path.name) and path.name not in listed:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def open_steadily(folder: Path, opened: Callable[[], Opened]) -> Opened:
    """Call `opened`, which opens the files of an index folder; again, if a writer has replaced its manifest meanwhile.

    So all files belong to one state of the index. A file that is open stays readable when a writer removes it.
    """
    while True:
        before = _manifest(folder)
        try:
            result = opened()
        except (ArtifactError, OSError):  # a writer may have removed a file at any moment
            if _manifest(folder) == before:
                raise
        else:
            if _manifest(folder) == before:
                return result


def _manifest(folder: Path) -> bytes | None:
    try:
        return (folder / MANIFEST).read_bytes()
    except OSError:
        return None
