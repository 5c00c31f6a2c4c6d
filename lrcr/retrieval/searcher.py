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
from lrcr.errors import ArtifactError, ParamsError, counted
from lrcr.features.store import Descriptors
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.backend import OpenIndex, backend_of
from lrcr.retrieval.confidence import FEWEST, Calibration, is_calibrated_for
from lrcr.retrieval.contents import has_model, open_steadily, require_beside
from lrcr.retrieval.images import choose_roots, locate_images, read_boxes, read_images
from lrcr.retrieval.layout import CODEBOOK, PARAMS
from lrcr.retrieval.local import LocalDescriptors, open_local
from lrcr.retrieval.local_encoder import LocalEncoder, local_encoder
from lrcr.retrieval.rerank.steps import open_steps, open_verifier
from lrcr.storage.arrays import REBUILD
from lrcr.storage.artifacts import MANIFEST, open_manifest, read_json


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
        sha256: hash of the image file when it was indexed; None: the index does not know it.
        unsearched: images of the index that were not searched (`lrcr.data.ranking.Ranking`).
    """

    rank: int
    score: float
    image: str
    label: str | None
    path: Path | ArchivedImage
    regions: tuple[Box, ...] | None = None
    sha256: str | None = None
    unsearched: int = 0


class Searcher:
    """Searches the index in a folder that `lrcr.retrieval.build.index_dataset` wrote.

    It keeps answering from the state that it opened, whatever is written into the folder afterwards.

    Args:
        folder: of the index.
        search: settings of the search; None takes the defaults.
        photos: where the photos are now, if they were moved (`lrcr.retrieval.images.choose_roots`).
        rerank: steps that rank the results again.

    Attributes:
        settings: of the search.
        params: with which the index was built; the search section holds defaults.
        roots: the folders of the images, as given or as stored; without a model, the features files.
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
        self.settings = search or SearchParams()
        opened = open_steadily(folder, lambda: _open(folder, self.settings))
        self.params, self.index, self.local, self._table = opened
        self.steps = open_steps(rerank, self.index, self.local)
        self.verifier = open_verifier(rerank, self.local)
        self.roots = choose_roots(self.index.manifest.facts["roots"], photos, str(folder))

    @cached_property
    def images(self) -> pd.DataFrame:
        """The table of images (`lrcr.retrieval.images`) with absolute `path` and `archive`: image k is row k.

        Raises:
            ArtifactError: the table is damaged, or belongs to another index.
        """
        facts, order = self.index.manifest.facts, self.index.order
        table = read_images(self.folder / facts["table"], self._table, facts)
        return locate_images(table if order is None else table.iloc[order].reset_index(drop=True), self.roots)

    @property
    def has_model(self) -> bool:
        """Whether photos can be described; without a model the index holds the user's own descriptors."""
        return has_model(self.index.manifest.facts)

    @property
    def calibration(self) -> Calibration | None:
        """The law that gives scores a confidence; None: see `require_calibration`."""
        fact = self.index.manifest.facts.get("confidence")
        usable = is_calibrated_for(self.settings) or not self.index.explains
        return Calibration(fact["slope"], self.index.logarithmic) if fact and usable else None

    def require_calibration(self) -> None:
        """Refuse to filter results by confidence if the scores have none.

        Raises:
            ParamsError: the index is not calibrated, or not for the settings of the search.
        """
        if self.calibration is not None:
            return
        facts, images = self.index.manifest.facts, self.index.images
        if facts.get("confidence"):
            reason = "is calibrated for the default search.alpha, search.tau and search.idf; do not set them"
        elif images < FEWEST:
            reason = f"holds {counted(images, 'image')}, but calibration needs {FEWEST}; add photos"
        elif "confidence" in facts:
            reason = "has too few scores above 0 to be calibrated; index other photos"
        else:
            reason = "was made before indexes were calibrated; index again"
        raise ParamsError(f"min_confidence: {self.folder} {reason}")

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
        texts = found[["label", "sha256"]].astype(object)
        labels, hashes = (texts[name].where(texts[name].notna(), None) for name in texts)
        lost = [ranking.unsearched] * len(found)
        rows = zip(scores, found["name"], labels, image_files(Path(), found), regions, hashes, lost, strict=True)
        return [Result(rank, float(score), *values) for rank, (score, *values) in enumerate(rows, 1)]


def _open(folder: Path, search: SearchParams) -> tuple[Params, OpenIndex, LocalDescriptors | None, npt.NDArray[Any]]:
    """The params, the index, the local descriptors that it owns, and the bytes of its table, mapped into memory."""
    require_beside(folder, open_manifest(folder, "index").facts)
    params = check_params(read_json(folder / PARAMS), str(folder / PARAMS))
    backend = backend_of(params, folder / CODEBOOK)
    index, encoder = backend.open(folder, search), local_encoder(params, backend)
    local = None if encoder is None else _open_local(folder, index, encoder)
    return params, index, local, np.memmap(folder / index.manifest.facts["table"], mode="r")


def _open_local(folder: Path, index: OpenIndex, encoder: LocalEncoder) -> LocalDescriptors:
    """The local descriptors of the images of an index."""
    facts = index.manifest.facts
    try:
        stored, described = (sum(entry["images"] for entry in facts[name]) for name in ("segments", "local"))
        if stored != described:
            found = f"local descriptors of {described} images for {stored} stored images"
            raise ArtifactError(f"{folder / MANIFEST}: {found}; {REBUILD}")
        return open_local(folder, facts["local"], encoder, index.order)
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / MANIFEST}: its facts are incomplete or wrong ({error}); {REBUILD}") from None
