"""Global vectors as the pipeline uses them: descriptor rows → whitening → flat index → ranking."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lrcr.config.params import Params
from lrcr.config.retrieval import SearchParams
from lrcr.data.ranking import Ranking
from lrcr.features.store import Descriptors, DescriptorStore, Sample
from lrcr.models.whitening import read_whitening_file
from lrcr.progress import Progress
from lrcr.retrieval.flat.index import FlatIndex, build_flat_index, open_flat_index
from lrcr.retrieval.flat.vectors import RowWhitening, Vectors, normalise, to_vectors
from lrcr.retrieval.flat.whitening import learn_row_whitening, open_whitening, save_whitening
from lrcr.runtime.device import resolve_device
from lrcr.storage.artifacts import Manifest

_ROUNDS = 7


def learn(params: Params, store: DescriptorStore | None, folder: Path, manifest: Manifest, progress: Progress) -> None:
    """Learn the whitening into an existing (staged) folder, or without a store take that of `codebook.file`, or none.

    Raises:
        ArtifactError: the fit set is too small, or lacks labels.
        WeightsError: the file holds no whitening.
    """
    settings = params.codebook
    if store is not None:
        whitening = learn_row_whitening(store, params.vector_whitening, settings.dim)
    elif settings.file is not None:
        whitening = RowWhitening(*read_whitening_file(Path(settings.file), "codebook.file"))
    else:
        whitening = None
    save_whitening(folder, whitening, manifest)


def reduce(params: Params, codebook_folder: Path) -> Callable[[Descriptors, Sequence[str]], Vectors]:
    """What makes one vector of each database image's rows; the images' names serve its messages.

    Raises:
        ArtifactError: the whitening is damaged; later also as `to_vectors`.
    """
    whitening, _ = open_whitening(codebook_folder)
    return lambda images, names: to_vectors(images, whitening, names)


def build(
    params: Params,
    codebook_folder: Path,
    parts: Iterable[Vectors],
    images: int,
    sample: Sample,
    folder: Path,
    inputs: dict[str, str],
) -> None:
    """Build the flat index of a database in an existing (staged) folder.

    Args:
        codebook_folder, sample: of no account here.
        parts: what `reduce` made of the database, in order.
        images: how many these are.
        inputs: what the index is made from (see `Manifest`).
    """
    precision = params.index.precision
    build_flat_index(folder, parts, images, precision=precision, params=params.sections("index"), inputs=inputs)


@dataclass(frozen=True, eq=False)
class FlatSearch:
    """A flat index open for search.

    Args:
        index: the vectors.
        whitening: of the queries' rows, as the images' were.
        gpu: whether faiss searches on a GPU.
        settings: how to search; only `top` counts.
    """

    index: FlatIndex
    whitening: RowWhitening | None
    gpu: bool
    settings: SearchParams

    @property
    def summary(self) -> str:
        """What an image takes, in words."""
        facts = self.index.manifest.facts
        return f"{facts['dimensions']} dimensions and {facts['bytes_per_image']:.0f} bytes an image"

    def prepare(self, queries: Descriptors) -> Vectors:
        """Each query's vector."""
        return to_vectors(queries, self.whitening)

    def rank(self, queries: Vectors, top: int | None) -> Ranking:
        """Rank the images for prepared queries; `top: None` returns all."""
        images, scores = self.index.search(queries, top, gpu=self.gpu)
        return Ranking.from_queries(list(images), list(scores))

    def measure(self, queries: int) -> dict[str, float]:
        """The speed at which drawn vectors are answered.

        `open_ms` to open the index, `query_ms` for a query alone, `batch_ms` for one of a batch, medians of several
        rounds; and `bytes_per_image`.
        """
        index, top = self.index, self.settings.top
        drawn = normalise(np.random.default_rng(0).normal(size=(queries, index.vectors.shape[1])).astype(np.float32))
        alone = [drawn[query : query + 1] for query in range(min(5, queries))]

        def one_by_one() -> None:
            for query in alone:
                index.search(query, top, gpu=self.gpu)

        work = (lambda: open_flat_index(index.folder), one_by_one, lambda: index.search(drawn, top, gpu=self.gpu))
        taken = np.median([[_milliseconds(step) for step in work] for _ in range(_ROUNDS)], axis=0)
        opened, single, batch = (float(value) for value in taken)
        return {
            "open_ms": opened,
            "query_ms": single / len(alone),
            "batch_ms": batch / queries,
            "bytes_per_image": index.manifest.facts["bytes_per_image"],
        }


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def open_search(folder: Path, codebook_folder: Path, params: Params, settings: SearchParams) -> FlatSearch:
    """Open an index for search.

    Raises:
        ArtifactError: a file is missing or damaged.
        ParamsError: a GPU is asked for and not there.
    """
    whitening, _ = open_whitening(codebook_folder)
    return FlatSearch(open_flat_index(folder), whitening, resolve_device(params.device).type == "cuda", settings)
