"""ASMK as the pipeline uses it: descriptors → visual words → inverted file → ranking."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from lrcr.config.params import Params
from lrcr.config.retrieval import SearchParams
from lrcr.data.ranking import Ranking
from lrcr.errors import ParamsError
from lrcr.features.store import Descriptors, DescriptorStore, Sample, require_finite
from lrcr.progress import Progress
from lrcr.retrieval.asmk.aggregation import Aggregated, aggregate
from lrcr.retrieval.asmk.codebook import Codebook, learn_codebook, open_codebook, read_centroids, save_codebook
from lrcr.retrieval.asmk.explain import Match, Side, explain
from lrcr.retrieval.asmk.index import Index, build_index, open_index
from lrcr.retrieval.asmk.segments import Layout
from lrcr.retrieval.asmk.speed import draw_queries, measure
from lrcr.runtime.device import resolve_device
from lrcr.runtime.seeds import generator
from lrcr.storage.artifacts import Manifest

_RECALL_SAMPLE = 2000  # descriptors


def learn(params: Params, store: DescriptorStore | None, folder: Path, manifest: Manifest, progress: Progress) -> None:
    """Learn visual words into an existing (staged) folder, or without a store take those of `codebook.file`.

    Of more than `codebook.per_word` descriptors a word a sample is drawn.

    Raises:
        ArtifactError: the file holds no centroids.
    """
    settings = params.codebook
    if store is None:
        codebook = read_centroids(Path(settings.file or ""))
    else:
        seed, most = settings.seed, settings.per_word * settings.words
        codebook = learn_codebook(
            store.sample(most, generator(seed, "codebook sample")),
            settings.words,
            iterations=settings.iterations,
            seed=seed,
            gpu=resolve_device(params.device).type == "cuda",
            progress=progress,
        )
    save_codebook(folder, codebook, manifest)


def reduce(params: Params, codebook_folder: Path) -> Callable[[Descriptors, Sequence[str]], Aggregated]:
    """What aggregates the descriptors of database images, whose names serve its messages.

    Raises:
        ArtifactError: the codebook is damaged; later also as `aggregate_images`.
    """
    codebook, settings = _open_codebook(params, codebook_folder), params.index

    def aggregate_named(images: Descriptors, names: Sequence[str]) -> Aggregated:
        return aggregate_images(images, codebook, settings.assignment, binary=settings.binary, names=names)

    return aggregate_named


def build(
    params: Params,
    codebook_folder: Path,
    parts: Iterable[Aggregated],
    images: int,
    sample: Sample,
    folder: Path,
    inputs: dict[str, str],
) -> None:
    """Build the inverted file of a database in an existing (staged) folder.

    Args:
        parts: what `reduce` made of the database, in order.
        images: how many these are; of no account here.
        sample: draws descriptors of the database.
        inputs: what the index is made from (see `Manifest`).

    Raises:
        ArtifactError: the codebook is damaged or does not fit the descriptors.
    """
    codebook = _open_codebook(params, codebook_folder)
    words, dim = codebook.centroids.shape
    build_index(
        folder,
        parts,
        Layout(words, dim, params.index.binary, params.index.packed),
        memory=int(params.index.memory * 2**30),
        facts=_measure_recall(params, sample, codebook),
        params=params.sections("index"),
        inputs=inputs,
    )


def _open_codebook(params: Params, folder: Path) -> Codebook:
    codebook, _ = open_codebook(folder)
    return replace(codebook, approximate=params.index.quantisation == "approximate")


def _measure_recall(params: Params, sample: Sample, codebook: Codebook) -> dict[str, float]:
    """What approximate assignment finds of the exact one, for the manifest; nothing where it is exact."""
    if not codebook.approximate:
        return {}
    drawn = sample(_RECALL_SAMPLE, generator(params.seed, "recall sample"))
    depths = sorted({1, params.index.assignment, params.search.assignment})
    return {f"recall@{depth}": codebook.recall(drawn, depth) for depth in depths}


def aggregate_images(
    images: Descriptors, codebook: Codebook, assignment: int, *, binary: bool, names: Sequence[str] | None = None
) -> Aggregated:
    """Assign descriptors to their `assignment` nearest words and aggregate them image by image.

    Args:
        names: of the images, for the error message; without them it tells their numbers.

    Raises:
        ArtifactError: descriptors and codebook differ in dimension, or a descriptor is not finite (its image is named).
    """
    require_finite(images, names)
    descriptors = images.descriptors.astype(np.float32, copy=False)
    words = codebook.assign(descriptors, assignment)
    return aggregate(descriptors, words, images.offsets, codebook.centroids, binary=binary)


@dataclass(frozen=True, eq=False)
class AsmkSearch:
    """An inverted file open for search.

    Args:
        index: the inverted file.
        codebook: its visual words.
        params: under which the index was built.
        settings: how to search.
    """

    index: Index
    codebook: Codebook
    params: Params
    settings: SearchParams

    @property
    def summary(self) -> str:
        """What an image takes, in words."""
        facts = self.index.manifest.facts
        return f"{facts['words_per_image']:.0f} words and {facts['bytes_per_image']:.0f} bytes an image"

    def prepare(self, queries: Descriptors) -> Aggregated:
        """Each query's visual words and residuals."""
        return aggregate_images(queries, self.codebook, self.settings.assignment, binary=self.index.layout.binary)

    def rank(self, queries: Aggregated, top: int | None) -> Ranking:
        """Rank the images for prepared queries; `top: None` returns all."""
        settings = self.settings
        images, scores, offsets = self.index.search(
            queries, alpha=settings.alpha, tau=settings.tau, idf=settings.idf, top=top
        )
        query = np.repeat(np.arange(queries.count), np.diff(offsets))
        return Ranking(query=query, image=images, score=scores)

    def explain(self, query: Descriptors, image: Descriptors) -> list[Match]:
        """What a query and an image have in common (`lrcr.retrieval.asmk.explain`)."""
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

    def measure(self, queries: int) -> dict[str, float]:
        """The speed (`lrcr.retrieval.asmk.speed`) at which drawn queries are answered, from their visual words to the ranking.

        Raises:
            ParamsError: the index has no words.
        """
        index, settings = self.index, self.settings
        words = round(index.manifest.facts["words_per_image"] * settings.assignment)
        if not words:
            raise ParamsError(f"{index.folder}: its images have no descriptors; index other photos")
        drawn = draw_queries(index, queries, words, np.random.default_rng(0))
        top = settings.top or index.images
        return asdict(measure(index, drawn, alpha=settings.alpha, tau=settings.tau, idf=settings.idf, top=top))


def open_search(folder: Path, codebook_folder: Path, params: Params, settings: SearchParams) -> AsmkSearch:
    """Open an index for search.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    return AsmkSearch(open_index(folder), _open_codebook(params, codebook_folder), params, settings)
