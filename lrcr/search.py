"""The Searcher: an open index and everything that is needed to ask it."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from lrcr.artifacts import read_json
from lrcr.asmk import Aggregated, Index, Match, Side, explain, open_codebook, open_index
from lrcr.descriptors import Descriptors
from lrcr.errors import ArtifactError
from lrcr.indexing import CODEBOOK, IMAGES, PARAMS, aggregate_images
from lrcr.params import SearchParams, check_params
from lrcr.ranking import Ranking


class Searcher:
    """Answers queries from the index in a folder that `lrcr.indexing.index_dataset` wrote.

    Args:
        folder: of the index.
        search: how to search; None takes what the index was built with.

    Attributes:
        index: the inverted file.
        params: under which the index was built.

    Raises:
        ArtifactError: a file of the index is missing or damaged.
    """

    def __init__(self, folder: Path, search: SearchParams | None = None) -> None:
        self.folder = folder
        self.index: Index = open_index(folder)
        self.params = check_params(read_json(folder / PARAMS), str(folder / PARAMS))
        codebook, _ = open_codebook(folder / CODEBOOK)
        self.codebook = replace(codebook, approximate=self.params.index.quantisation == "approximate")
        self.settings = search or self.params.search

    @cached_property
    def images(self) -> pd.DataFrame:
        """The image table: those columns of a dataset, `path` and `archive` absolute, and `name`.

        See `lrcr.datasets.dataset.image_files`.
        """
        try:
            table = pd.read_parquet(self.folder / IMAGES)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{self.folder / IMAGES}: not a table of images ({error}); index again") from None
        if len(table) != self.index.images:
            raise ArtifactError(f"{self.folder / IMAGES}: {len(table)} images for an index of {self.index.images}")
        return table

    def search(self, queries: Descriptors, top: int | None = None) -> Ranking:
        """Rank the images of the index for each query.

        Args:
            queries: each image is a query, described by the index's model.
            top: images returned for each query; None returns all.

        Raises:
            ArtifactError: the descriptors do not fit the index.
        """
        return self.rank(self.aggregate(queries), top)

    def aggregate(self, queries: Descriptors) -> Aggregated:
        """Each query's visual words and residuals."""
        binary = self.index.layout.binary
        return aggregate_images(queries, self.codebook, self.settings.assignment, binary=binary)

    def explain(self, query: Descriptors, image: Descriptors) -> list[Match]:
        """What a query and an image of the index have in common, the largest contribution first.

        The contributions add up to the score of the image.

        Args:
            query, image: one image each, described by the index's model.

        Raises:
            ArtifactError: the descriptors do not fit the index.
        """
        settings, index = self.settings, self.index
        return explain(
            Side(query.descriptors, settings.assignment),
            Side(image.descriptors, self.params.index.assignment),
            self.codebook,
            index.idf if settings.idf else np.ones_like(index.idf),
            alpha=settings.alpha,
            tau=settings.tau,
            binary=index.layout.binary,
        )

    def rank(self, queries: Aggregated, top: int | None = None) -> Ranking:
        """Rank the images of the index for aggregated queries."""
        settings = self.settings
        images, scores, offsets = self.index.search(
            queries, alpha=settings.alpha, tau=settings.tau, idf=settings.idf, top=top
        )
        query = np.repeat(np.arange(queries.count), np.diff(offsets))
        return Ranking(query=query, image=images, score=scores)
