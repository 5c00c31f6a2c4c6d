"""Learning visual words from the fit set."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lrcr.config.retrieval import CodebookParams
from lrcr.features.store import DescriptorStore
from lrcr.progress import Progress
from lrcr.retrieval.asmk.assignment import SharedAssignment
from lrcr.retrieval.asmk.codebook import learn_codebook, read_centroids, save_codebook
from lrcr.retrieval.asmk.kmeans import Nearest, nearest_words
from lrcr.runtime.executor import choose_executor
from lrcr.runtime.seeds import generator
from lrcr.storage.artifacts import Manifest
from lrcr.storage.state import state_folder


@dataclass(frozen=True)
class WordsFit:
    """K-means over local descriptors; see `lrcr.retrieval.codebook.CodebookFit`.

    Args:
        params: the section `codebook`.
        gpu: whether k-means runs on GPUs.
        executor: the param `executor`.
    """

    params: CodebookParams
    gpu: bool
    executor: str = "local"

    def fit(self, store: DescriptorStore | None, folder: Path, manifest: Manifest, progress: Progress) -> None:
        """Write visual words into an existing (staged) folder; see `CodebookFit`.

        If there are more than `codebook.per_word` descriptors for each word, a random sample of them is used.

        Raises:
            ArtifactError: a shard is damaged or the fit set is empty, or the file holds no centroids.
        """
        import faiss

        params = self.params
        if store is None:
            words = read_centroids(Path(params.file or ""))
        else:
            with self._nearest(manifest) as nearest:
                words = learn_codebook(
                    store.sample(params.per_word * params.words, generator(params.seed, "codebook sample")),
                    params.words,
                    iterations=params.iterations,
                    seed=params.seed,
                    exact=params.assignment == "exact",
                    gpu=self.gpu,
                    nearest=nearest,
                    progress=progress,
                )
            device, threads = "cuda" if self.gpu else "cpu", faiss.omp_get_max_threads()
            manifest = replace(manifest, facts={"device": device, "threads": threads})
        save_codebook(folder, words, manifest)

    @contextmanager
    def _nearest(self, manifest: Manifest) -> Iterator[Nearest]:
        """What compares descriptors with all words: this process, or a cluster."""
        if self.executor == "local":
            yield nearest_words
            return
        state = state_folder(__name__, manifest.fingerprint)
        yield SharedAssignment(state, choose_executor(self.executor))
        shutil.rmtree(state)
