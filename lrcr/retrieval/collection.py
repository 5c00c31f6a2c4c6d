"""Bringing an index to the state of photos: only what is new or has changed is described, by the index's own model.

A photo is told by its name and the hash of its file. Each function is one change of the index: searches see it when all
of it is done. If it is killed, the index is as it was, and the same call continues.
"""

import logging
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrcr.data.images import Box
from lrcr.datasets.walking import photos_root
from lrcr.errors import ArtifactError, DatasetError, ParamsError, counted
from lrcr.features.regions import grids
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.contents import listed_names, require_model
from lrcr.retrieval.encoding import encode_photos, kept_local
from lrcr.retrieval.images import choose_roots, flat_boxes
from lrcr.retrieval.lock import LOCK, only_writer
from lrcr.retrieval.queries import extractor_of
from lrcr.retrieval.reading import PhotoReader, of_root, outside_other_folders, stored_images, tabulate
from lrcr.retrieval.sources import require_same_source
from lrcr.retrieval.writer import IndexWriter, open_writer
from lrcr.storage.artifacts import MANIFEST, open_manifest, staged_folder
from lrcr.storage.state import state_folder

_log = logging.getLogger(__name__)

_REPLACE = "`lrcr remove` images, then `lrcr add` them with --descriptors FILE"


@dataclass(frozen=True)
class Change:
    """What was done to an index: the numbers of images that were added, described again, removed, and are left."""

    added: int
    renewed: int
    removed: int
    left: int

    def __str__(self) -> str:
        done = f"{self.added} added, {self.renewed} described again, {self.removed} removed"
        return f"{done}; {counted(self.left, 'image')}"


def add_photos(
    folder: Path,
    given: Sequence[Path],
    prefix: str = "",
    progress: Progress = SILENT,
    *,
    tolerate_truncated: bool = False,
) -> Change:
    """Add photos that are not in an index yet.

    Args:
        folder: of the index.
        given: folders of photos, as `lrcr index` takes them, and single photos. Photos in another folder of the index
            below one of these are left out, with a warning, unless there is a prefix.
        prefix: before the names of all of them.
        tolerate_truncated: whether JPEGs that lack their last bytes are accepted.

    Raises:
        ArtifactError: the index has another photo of the same name, or is damaged, or another process is changing it.
        DatasetError: a folder does not exist or holds no photos.
        ImageError: a photo cannot be decoded.
    """
    with open_writer(folder) as writer:
        require_model(folder, writer.manifest.facts)
        read = PhotoReader(progress, tolerate_truncated)
        found = pd.concat([read.given(path, prefix, writer) for path in given], ignore_index=True)
        found = found.drop_duplicates(["name", "sha256"])
        there = found["name"].isin(writer.images["name"]).to_numpy()
        other = found[there & ~_holds(writer.images, found)]
        if len(other):
            raise ArtifactError(
                f"{folder}: has another image {other['name'].iloc[0]!r}; use `lrcr update` if the photo was changed, "
                "or give the photos a --prefix"
            )
        return _apply(writer, found[~there], [], read)


def remove_photos(folder: Path, names: Sequence[str]) -> Change:
    """Remove images from an index; their photos are left alone.

    Raises:
        ArtifactError: a name is not in the index, or the index is damaged, or another process is changing it.
    """
    with open_writer(folder) as writer:
        return _apply(writer, writer.images[:0], list(dict.fromkeys(names)), PhotoReader(SILENT))


def update_photos(
    folder: Path, moved: Sequence[Path] = (), progress: Progress = SILENT, *, tolerate_truncated: bool = False
) -> Change:
    """Describe the photos of an index again whose files have changed; files that are missing change nothing.

    Args:
        folder: of the index.
        moved: where the photos are now, one folder for each folder of the index; it is stored.
        tolerate_truncated: whether JPEGs that lack their last bytes are accepted.

    Raises:
        ArtifactError: the index is damaged, or another process is changing it.
        DatasetError: a folder does not exist.
    """
    with open_writer(folder) as writer:
        require_model(folder, writer.manifest.facts, _REPLACE)
        writer.move([str(root) for root in choose_roots(writer.roots, moved, str(folder))])
        changed, missing, read = [], 0, PhotoReader(progress, tolerate_truncated)
        for number, root in enumerate(map(Path, writer.roots)):
            rows = of_root(writer, number)
            if not root.is_dir():
                raise DatasetError(f"{root}: no such folder; name the one where the photos are now with --photos")
            files = {path: root / path for path in rows["path"] if (root / path).is_file()}
            photos = read.files(root, files, stored_images(rows), root.name)
            there = rows[rows["path"].isin(list(photos.accepted))]
            now = tabulate(root, photos.accepted, there["path"], there["name"], there["label"])
            changed.append(now[~_holds(there, now)])
            missing += len(rows) - len(there)
        if missing:
            _log.warning("%s: missing or damaged: %s; `lrcr sync` removes them", folder, counted(missing, "photo"))
        found = pd.concat(changed or [writer.images[:0]], ignore_index=True)
        return _apply(writer, found, found["name"].tolist(), read)


def sync_photos(folder: Path, photos: Path, progress: Progress = SILENT, *, tolerate_truncated: bool = False) -> Change:
    """Bring an index to the state of a folder: new photos are added, changed ones replaced, missing ones removed.

    Of an index of several folders, only the images of this folder change. The labels become those of `labels.csv`. A
    photo that is there under several prefixes keeps all its names; a new one comes in under each prefix. Photos in
    another folder of the index below this one belong to that one.

    Args:
        folder: of the index.
        photos: as `lrcr index` takes it. The folder of an index of one folder may have moved.
        tolerate_truncated: whether JPEGs that lack their last bytes are accepted.

    Raises:
        ArtifactError: the index has another folder, or is damaged, or another process is changing it.
        DatasetError: the folder does not exist or holds no photos.
    """
    with open_writer(folder) as writer:
        require_model(folder, writer.manifest.facts, _REPLACE)
        root = photos_root(photos).resolve()
        if str(root) not in writer.roots and len(writer.roots) > 1:
            raise ArtifactError(f"{folder}: its photos lie in {', '.join(writer.roots)}; name one of these folders")
        if str(root) not in writer.roots:
            writer.move([str(root)])
        number = writer.roots.index(str(root))
        rows = of_root(writer, number)
        read = PhotoReader(progress, tolerate_truncated)
        found = outside_other_folders(read.folder(photos, stored_images(rows)), root, writer.roots)
        found = _with_all_names(found, rows)
        elsewhere = writer.images[writer.images["root"] != number]
        found = found[~_holds(elsewhere, found)].reset_index(drop=True)
        kept = _holds(rows, found)
        writer.relabel(dict(zip(found["name"][kept], found["label"][kept], strict=True)))
        return _apply(writer, found[~kept], rows["name"][~_holds(found, rows)].tolist(), read)


def merge_indexes(one: Path, other: Path, output: Path, prefix: str = "") -> None:
    """Write an index of the images of two, which were built with the same model, codebook and settings.

    Args:
        output: a new folder.
        prefix: before the names of the images of `other`.

    Raises:
        ArtifactError: an index is damaged or is being changed, or they cannot be merged; see `IndexWriter.merge`.
        ParamsError: `output` exists, or both indexes are the same.
    """
    if output.exists():
        raise ParamsError(f"--output {output}: exists; name another folder")
    if one.resolve() == other.resolve():
        raise ParamsError(f"{other}: is the same index; name two")
    with ExitStack() as locks:
        for folder in (one, other):
            open_manifest(folder, "index")
            locks.enter_context(only_writer(folder))
        require_same_source(one, other)
        temporary = locks.enter_context(staged_folder(output))
        for name in (MANIFEST, *listed_names(open_manifest(one, "index").facts)):
            source = one / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, temporary / name)
        with open_writer(temporary) as writer:
            writer.merge(other, prefix)
            writer.commit()
        (temporary / LOCK).unlink(missing_ok=True)


def _apply(writer: IndexWriter, described: pd.DataFrame, removed: Sequence[str], read: PhotoReader) -> Change:
    """Make one change of an index: photos are described and added, and images removed.

    Args:
        described: rows of `lrcr.retrieval.reading.tabulate`.
        removed: names of images; those that are described under the same name are described again.
    """
    writer.remove(removed)
    renewed = set(removed) & set(described["name"])
    if len(described):
        writer.move([*writer.roots, *(root for root in described["root"].unique() if root not in writer.roots)])
        _describe(writer, described, read)
    writer.commit()  # if nothing was described
    return Change(len(described) - len(renewed), len(renewed), len(removed) - len(renewed), len(writer.images))


def _describe(writer: IndexWriter, described: pd.DataFrame, read: PhotoReader) -> None:
    """Describe photos, add them and commit. A run after a kill reuses the finished shards."""
    regions = _regions(writer, described)
    extractor = extractor_of(writer.folder, writer.params, writer.manifest)
    files = map(Path, described["root"], described["path"])
    photos = [read.photo(file, boxes) for file, boxes in zip(files, regions, strict=True)]
    sections = writer.params.sections("extract", "index")
    inputs = [writer.manifest.inputs[name] for name in ("model", "codebook")]
    size = writer.params.extract.shard_size
    roots = described["root"].map(writer.roots.index)
    table = described.assign(root=roots, regions=flat_boxes(regions).to_numpy())
    hashes = described["sha256"].tolist()
    with state_folder(__name__, str(writer.folder.resolve()), sections, inputs, hashes) as state:
        parts = encode_photos(writer.backend, extractor, photos, size, state, read.progress, writer.local_encoder)
        writer.add(table, parts, kept_local(state))
        writer.commit()


def _regions(writer: IndexWriter, described: pd.DataFrame) -> Sequence[tuple[Box, ...] | None]:
    """The regions of photos, as the images of the index have them.

    Raises:
        ArtifactError: those of the index were detected.
    """
    kind = writer.params.extract.regions
    if kind == "detected":
        raise ArtifactError(
            f"{writer.folder}: images with detected regions can be removed, but not described here; index again"
        )
    return grids(described) if kind == "grid" else [None] * len(described)


def _with_all_names(found: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The photos of a folder, once for each name.

    Args:
        found: rows of `lrcr.retrieval.reading.tabulate`.
        rows: the images of the folder that an index has.
    """
    known = rows.groupby("path")["name"].agg(list).to_dict()
    prefixes = {name.removesuffix(path) for name, path in zip(rows["name"], rows["path"], strict=True)} or {""}
    names = [known.get(path) or [prefix + path for prefix in sorted(prefixes)] for path in found["path"]]
    listed = found.assign(name=pd.Series(names, found.index, dtype=object))
    return listed.explode("name", ignore_index=True).astype({"name": "string"})


def _holds(rows: pd.DataFrame, found: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether rows of a table have the name and the hash of each photo that was found."""
    known = set(zip(rows["name"], rows["sha256"].fillna(""), strict=True))
    return np.array([photo in known for photo in zip(found["name"], found["sha256"].fillna("?"), strict=True)], bool)
