"""Changing an index: images are added and removed, indexes are merged and compacted, without describing anything again.

An index is a list of immutable segments, a table of their images, and the manifest, which names both. What is added
goes into new segments; what is removed stays stored, but the manifest's `view` no longer names it. Readers see nothing
of this before `IndexWriter.commit` replaces the manifest, and then all of it; a reader that has the index open keeps
its state. Nothing that a manifest names is ever changed, and a name is not used again. If a writer is killed, the index
is what it was at the last commit, and the next writer removes what the manifest does not name.

The images of a changed index are numbered by name. Their scores are to the last bit, weights of the words included,
those of an index that is built at once, with the same model and codebook, from the images that are left, sorted by
name.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lrcr.config.reading import check_params
from lrcr.datasets.near import nearest_name
from lrcr.errors import ArtifactError
from lrcr.retrieval.backend import backend_of
from lrcr.retrieval.confidence import calibrate
from lrcr.retrieval.contents import list_beside, listed_names, remove_unlisted, require_beside
from lrcr.retrieval.images import read_images, typed, write_images
from lrcr.retrieval.layout import CODEBOOK, PARAMS
from lrcr.retrieval.local_encoder import LocalEncoder, LocalPart, local_encoder
from lrcr.retrieval.local_writer import LocalWriter
from lrcr.retrieval.lock import only_writer
from lrcr.retrieval.numbered import copy_entries, first_free, first_to_join, living
from lrcr.retrieval.sources import require_same_source
from lrcr.storage.arrays import write_arrays
from lrcr.storage.artifacts import Manifest, fingerprint, open_manifest, read_json, write_manifest

_FULL = 4  # a segment of more than this part of `index.memory_gib` is not joined with others


@contextmanager
def open_writer(folder: Path) -> Iterator["IndexWriter"]:
    """Open an index to change it, as the only writer; what was not committed at the end is forgotten.

    Raises:
        ArtifactError: another process is changing the index, or a file of it is missing or damaged.
    """
    open_manifest(folder, "index")
    with only_writer(folder):
        writer = IndexWriter(folder)
        try:
            yield writer
        finally:
            remove_unlisted(folder)


class IndexWriter:
    """Changes an index, which `open_writer` has locked.

    Attributes:
        folder: of the index.
        params: with which the index was built.
        backend: its engine.
        manifest: of the last commit.
        roots: the folders of the photos; see `lrcr.retrieval.images`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = open_manifest(folder, "index")
        facts = self.manifest.facts
        require_beside(folder, facts)
        remove_unlisted(folder)
        self.params = check_params(read_json(folder / PARAMS), str(folder / PARAMS))
        self.backend = backend_of(self.params, folder / CODEBOOK)
        self.roots: list[str] = list(facts["roots"])
        self._entries: list[dict[str, Any]] = list(facts["segments"])
        self._table, self._present = self._read(folder, facts)
        self._drop_empty_roots()
        self._next_image = int(facts["next_image"])
        self._number = first_free(listed_names(facts))
        self._local = LocalWriter(folder, facts, local_encoder(self.params, self.backend))
        self._removed: dict[str, int] = {}
        self._changed = False

    @property
    def images(self) -> pd.DataFrame:
        """The table of the images that are in the index now (`lrcr.retrieval.images`), in no particular order."""
        return self._table[self._present]

    @property
    def local_encoder(self) -> LocalEncoder | None:
        """Of the local descriptors of its images; None if the index owns none."""
        return self._local.encoder

    def add(self, images: pd.DataFrame, parts: Iterable[Any], local: Iterable[LocalPart] = ()) -> None:
        """Add images.

        Args:
            images: columns as in `lrcr.retrieval.images`; `image` is not read, and those that are missing are null.
            parts: what the `encode` of the writer's `backend` returns for these images, at least one part.
            local: what `local_encoder` makes of their local descriptors; it is read only after all parts, and only if
                the index owns them.

        Raises:
            ArtifactError: a name occurs twice, or is in the index already; or local descriptors are missing.
        """
        names = images["name"].tolist()
        self._require_new(names)
        fresh = itertools.count(self._next_image)
        ids = [self._removed[name] if name in self._removed else next(fresh) for name in names]
        self._next_image = next(fresh)
        entries = self._join_small(self._append(parts, len(images)))
        self._local.append(local, len(images))
        self._entries = entries  # only now: if a step has failed, table and segments still belong together
        self._extend(typed(images.assign(image=ids)), np.ones(len(images), bool))

    def remove(self, names: Sequence[str]) -> None:
        """Remove images; a name that is added again before the next commit keeps its id.

        Raises:
            ArtifactError: a name is not in the index.
        """
        places: dict[str, int] = pd.Series(self.images.index, self.images["name"]).to_dict()  # type: ignore[assignment]
        unknown = [name for name in names if name not in places]
        if unknown:
            near = nearest_name(unknown[0], places)
            hint = "" if near is None else f"did you mean {near!r}? "
            listed = f"`lrcr inspect {self.folder} --images` lists all"
            raise ArtifactError(f"{self.folder}: has no image {unknown[0]!r}; {hint}{listed}")
        rows = [places[name] for name in names]
        self._removed.update(zip(names, self._table["image"].iloc[rows].tolist(), strict=True))
        self._present[rows] = False
        self._changed = self._changed or bool(rows)

    def relabel(self, labels: dict[str, str | None]) -> None:
        """Give some images other labels: name → label."""
        kept = ~(self._present & self._table["name"].isin(list(labels)))
        now = self._table["label"].where(kept, self._table["name"].map(labels)).astype("string")
        self._changed = self._changed or not now.equals(self._table["label"])
        self._table["label"] = now

    def move(self, roots: Sequence[str]) -> None:
        """Replace the folders of the photos."""
        self._changed, self.roots = self._changed or list(roots) != self.roots, list(roots)

    def merge(self, other: Path, prefix: str = "") -> None:
        """Add the images of another index that was built with the same model, codebook and settings.

        Each index keeps the folders of its photos. An image that is in both, by name and content, is added once.
        Segments of which no image is added, and own ones whose images were all removed, are left out.

        Args:
            other: folder of the index, which nobody changes meanwhile (`lrcr.retrieval.lock`).
            prefix: before the names of its images.

        Raises:
            ArtifactError: the other index was made with another model or codebook, or an image has the name of another.
        """
        theirs = open_manifest(other, "index")
        require_beside(other, theirs.facts)
        require_same_source(self.folder, other)
        table, present = self._read(other, theirs.facts)
        table["name"] = prefix + table["name"]
        present = self._without_known(table, present, other)
        self._drop_dead()
        segments, stored = living(theirs.facts["segments"], present)
        table, present = table.iloc[stored].reset_index(drop=True), present[stored]
        self.roots += [root for root in theirs.facts["roots"] if root not in self.roots]
        table["root"] = table["root"].map(lambda root: self.roots.index(theirs.facts["roots"][root]))
        table["image"] = table["name"].map(self._removed).fillna(table["image"] + self._next_image).astype("int64")
        self._next_image += int(theirs.facts["next_image"])
        copied = copy_entries(self.folder, other, segments, self._number)
        self._local.copy(other, theirs.facts, stored)
        self._entries, self._number = self._entries + copied, self._number + len(copied)
        self._extend(table, present)

    def compact(self) -> None:
        """Write the images that are left, sorted by name, into new segments: fewer, and without those removed."""
        order = self._order()
        if len(self._entries) == 1 and np.array_equal(order, np.arange(len(self._table))):
            return
        parts = self.backend.restore(self.folder, self._entries, order)
        entries = self._append(parts, len(order))
        self._local.rewrite(order)
        self._entries, self._changed = entries, True
        self._table = self._table.iloc[order].reset_index(drop=True)
        self._present = np.ones(len(order), bool)

    def commit(self) -> Manifest:
        """Make all changes visible at once: the manifest is replaced. What it no longer names is removed.

        Returns:
            The new manifest; the last one if there were no changes.
        """
        if not self._changed:
            return self.manifest
        self._drop_empty_roots()
        order, folder, number = self._order(), self.folder, self._number
        facts = {name: fact for name, fact in self.manifest.facts.items() if name.startswith("recall@")}
        facts |= self.backend.measure(folder, self._entries, order, number)
        if not np.array_equal(order, np.arange(len(self._table))):
            files = write_arrays(folder / f"view-{number:04d}", {"order": order.astype(np.uint32)})
            facts["view"] = {"folder": f"view-{number:04d}", "files": files}
        facts |= self._write_beside(number) | self._local.facts
        inputs = {name: self.manifest.inputs[name] for name in ("model", "codebook")}
        inputs["dataset"] = fingerprint("changed", *(facts.get(name) for name in ("segments", "view", "beside")))
        manifest = Manifest("index", self.manifest.params, inputs, facts)
        facts["confidence"] = calibrate(self.backend, folder, manifest, self._table["name"].iloc[order].tolist())
        write_manifest(folder, manifest)  # if a step has failed, the next commit starts from the last one
        self.manifest, self._removed, self._changed, self._number = manifest, {}, False, number + 1
        remove_unlisted(folder)
        return self.manifest

    def _write_beside(self, number: int) -> dict[str, Any]:
        """Write the table; returns the facts that do not depend on the engine."""
        name = f"images-{number:04d}.parquet"
        write_images(self.folder / name, self._table)
        was = self.manifest.facts
        files = {**was["beside"]["files"], **list_beside(self.folder, [name])["files"]}
        del files[was["table"]]
        beside = {"folder": ".", "files": dict(sorted(files.items()))}
        return {"roots": self.roots, "next_image": self._next_image, "table": name, "beside": beside}

    def _drop_empty_roots(self) -> None:
        """Leave out the folders without images; those of removed images are not read any more."""
        used = {number: self.roots[number] for number in sorted(set(self.images["root"]))}
        self.roots = list(dict.fromkeys(used.values()))
        numbers = {number: self.roots.index(root) for number, root in used.items()}
        self._table["root"] = self._table["root"].map(numbers).fillna(0).astype("int64")

    def _drop_dead(self) -> None:
        """Leave out the segments whose images were all removed, unless all were."""
        entries, stored = living(self._entries, self._present)
        if not entries or len(entries) == len(self._entries):
            return
        self._local.rewrite(stored)
        self._entries, self._changed = entries, True
        self._table, self._present = self._table.iloc[stored].reset_index(drop=True), self._present[stored]

    def _order(self) -> npt.NDArray[np.int64]:
        """The places of the images in the table, in the order of their names."""
        places = np.flatnonzero(self._present)
        names = pa.array(self._table["name"].iloc[places], pa.string())
        order: npt.NDArray[np.int64] = places[pc.sort_indices(names).to_numpy()]
        return order

    def _require_new(self, names: Sequence[str]) -> None:
        seen = set(self.images["name"])
        for name in names:
            if name in seen:
                raise ArtifactError(f"{self.folder}: has an image {name!r} already; remove it first, or rename one")
            seen.add(name)

    def _without_known(self, table: pd.DataFrame, present: npt.NDArray[np.bool_], other: Path) -> npt.NDArray[np.bool_]:
        """Which images of another table are new; refuses those whose name an image of other content has."""
        own = self.images
        known = dict(zip(own["name"], own["sha256"], strict=True))
        both = present & table["name"].isin(list(known)).to_numpy()
        for name, sha256 in table.loc[both, ["name", "sha256"]].itertuples(index=False):
            if pd.isna(sha256) or pd.isna(known[name]) or sha256 != known[name]:
                raise ArtifactError(
                    f"{other}: its image {name!r} is another than the one of this name; give its images a --prefix"
                )
        return present & ~both

    def _read(self, folder: Path, facts: dict[str, Any]) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
        """The table of the images that an index stores, and which of them are in it."""
        file, order = folder / facts["table"], self.backend.open(folder, self.params.search).order
        table = read_images(file, np.memmap(file, mode="r"), facts)
        present = np.full(len(table), order is None)
        if order is not None:
            present[order] = True
        return table, present

    def _append(self, parts: Iterable[Any], images: int) -> list[dict[str, Any]]:
        """Write images into new segments."""
        added = self.backend.append(self.folder, parts, images, self._number)
        self._number = first_free(entry["folder"] for entry in added)
        return added

    def _join_small(self, added: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """All segments, the new ones joined with small ones before them (`first_to_join`)."""
        entries, most = [*self._entries, *added], self.params.index.memory_gib * 2**30 / _FULL
        first = first_to_join(self._entries, sum(entry["images"] for entry in added), most)
        count = sum(entry["images"] for entry in entries[first:])
        if first == len(self._entries):
            return entries
        parts = self.backend.restore(self.folder, entries[first:], np.arange(count))
        return [*entries[:first], *self._append(parts, count)]

    def _extend(self, table: pd.DataFrame, present: npt.NDArray[np.bool_]) -> None:
        """Add the rows of new images."""
        self._table = pd.concat([self._table, table], ignore_index=True)
        self._present = np.append(self._present, present)
        self._changed = True
