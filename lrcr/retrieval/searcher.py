"""Search in an index folder: the open index and the table of its images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrcr.config.params import Params
from lrcr.config.reading import check_params
from lrcr.config.rerank import RerankParams
from lrcr.config.retrieval import SearchParams
from lrcr.data.dataset import ArchivedImage, image_files
from lrcr.data.images import Box
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.backend import OpenIndex, backend_of
from lrcr.retrieval.contents import open_steadily, require_beside
from lrcr.retrieval.images import choose_roots, locate_images, read_boxes, read_images
from lrcr.retrieval.layout import CODEBOOK, LOCAL, PARAMS
from lrcr.retrieval.local import LocalDescriptors, open_local
from lrcr.retrieval.rerank.steps import open_steps, open_verifier
from lrcr.storage.artifacts import open_manifest, read_json


@dataclass(frozen=True)
class Result:
    """One image of a ranking.

    Args:
        rank: from 1.
        score: larger is more similar.
        image: its name.
        label: its landmark or cluster; None if it has no label.
        path: the file, or the place in an archive, from which the image is read.
        regions: boxes that are described beside the whole image; None: it has no regions.
    """

    rank: int
    score: float
    image: str
    label: str | None
    path: Path | ArchivedImage
    regions: tuple[Box, ...] | None = None


class Searcher:
    """Searches the index in a folder that `lrcr.retrieval.build.index_dataset` wrote.

    It keeps answering from the state that it opened, whatever is written into the folder afterwards.

    Args:
        folder: of the index.
        search: settings of the search; None takes the defaults.
        photos: where the photos are now, if they were moved (`lrcr.retrieval.images.choose_roots`).
        rerank: steps that rank the results again.

    Attributes:
        params: with which the index was built; the search section holds defaults.
        index: the inverted file or the flat index, open for search (`lrcr.retrieval.backend.OpenIndex`).
        local: the local descriptors that the index owns; None if it owns none.
        steps: of the re-ranking (`lrcr.retrieval.rerank.reranker.Reranker`); `search` does not take them.
        verifier: finds inliers (`lrcr.retrieval.rerank.geometric.Geometric`); None if it owns no local descriptors.

    Raises:
        ArtifactError: a file of the index is missing or damaged.
        ParamsError: `photos` are not as many folders as those of the index, or a step of re-ranking needs what the
            index does not hold.
    """

    def __init__(
        self,
        folder: Path,
        search: SearchParams | None = None,
        photos: Sequence[Path] = (),
        rerank: Sequence[RerankParams] = (),
    ) -> None:
        self.folder = folder
        opened = open_steadily(folder, lambda: _open(folder, search or SearchParams()))
        self.params, self.index, self.local, self._table = opened
        self.steps = open_steps(rerank, self.index, self.local)
        self.verifier = open_verifier(rerank, self.local)
        self._roots = choose_roots(self.index.manifest.facts["roots"], photos, str(folder))

    @cached_property
    def images(self) -> pd.DataFrame:
        """The table of images (`lrcr.retrieval.images`) with absolute `path` and `archive`: image k is row k.

        Raises:
            ArtifactError: the table is damaged, or belongs to another index.
        """
        facts, order = self.index.manifest.facts, self.index.order
        table = read_images(self.folder / facts["table"], self._table, facts)
        return locate_images(table if order is None else table.iloc[order].reset_index(drop=True), self._roots)

    @property
    def summary(self) -> str:
        """The size of the index, as a text."""
        if self.local is None:
            return self.index.summary
        return f"{self.index.summary}, and {self.local.bytes_per_image:.0f} bytes of local descriptors"

    def verify(self, progress: Progress = SILENT) -> None:
        """Compare every file with its hash in its manifest.

        Raises:
            ArtifactError: a file is missing or was altered; the message names it.
        """
        self.index.verify(progress)
        if self.local is not None:
            self.local.verify(progress)

    def search(self, queries: Descriptors, top: int | None = None) -> Ranking:
        """Rank the images of the index for each query.

        Args:
            queries: the descriptors of each query, extracted by the index's model
                (`lrcr.retrieval.queries.open_extractor`).
            top: images returned for each query; None returns all.

        Raises:
            ArtifactError: the descriptors do not fit the index.
        """
        return self.index.rank(self.index.prepare(queries), top)

    def results(self, ranking: Ranking, query: int = 0) -> list[Result]:
        """The ranked images of one query, best first."""
        images, scores = ranking.of_query(query)
        found = self.images.iloc[images]
        regions = map(read_boxes, found["regions"])
        rows = zip(scores, found["name"], found["label"], image_files(Path(), found), regions, strict=True)
        return [
            Result(rank, float(score), name, None if pd.isna(label) else str(label), path, boxes)
            for rank, (score, name, label, path, boxes) in enumerate(rows, 1)
        ]


def _open(folder: Path, search: SearchParams) -> tuple[Params, OpenIndex, LocalDescriptors | None, npt.NDArray[Any]]:
    """The params, the index, the local descriptors that it owns, and the bytes of its table, mapped into memory."""
    require_beside(folder, open_manifest(folder, "index").facts)
    params = check_params(read_json(folder / PARAMS), str(folder / PARAMS))
    index = backend_of(params, folder / CODEBOOK).open(folder, search)
    local = _open_local(folder / LOCAL, index.images) if params.index.local_descriptors != "none" else None
    return params, index, local, np.memmap(folder / index.manifest.facts["table"], mode="r")


def _open_local(folder: Path, images: int) -> LocalDescriptors:
    local = open_local(folder)
    if len(local) != images:
        raise ArtifactError(f"{folder}: of {len(local)} images for an index of {images}; index again")
    return local
