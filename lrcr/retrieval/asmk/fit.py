"""Learning visual words from the fit set."""

from dataclasses import dataclass, replace
from pathlib import Path

from lrcr.config.retrieval import CodebookParams
from lrcr.features.store import DescriptorStore
from lrcr.progress import Progress
from lrcr.retrieval.asmk.assignment import SharedAssignment
from lrcr.retrieval.asmk.codebook import learn_codebook, read_centroids, save_codebook
from lrcr.retrieval.asmk.kmeans import nearest_in_cells, nearest_of_all
from lrcr.runtime.executor import choose_executor
from lrcr.runtime.seeds import generator
from lrcr.runtime.shares import refuse_share
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
            ParamsError: this process makes a share of an array job.
        """
        import faiss

        params = self.params
        if store is None:
            save_codebook(folder, read_centroids(Path(params.file or "")), manifest)
        else:
            refuse_share("a codebook")
            facts = {"device": "cuda" if self.gpu else "cpu", "threads": faiss.omp_get_max_threads()}
            search = nearest_in_cells if params.assignment == "ivf" else nearest_of_all
            with state_folder(__name__, manifest.params, manifest.inputs, facts) as state:
                words = learn_codebook(
                    store.sample(params.per_word * params.words, generator(params.seed, "codebook sample")),
                    params.words,
                    iterations=params.iterations,
                    seed=params.seed,
                    exact=params.assignment == "exact",
                    gpu=self.gpu,
                    nearest=SharedAssignment(state, search, choose_executor(self.executor)),
                    state=state,
                    progress=progress,
                )
                save_codebook(folder, words, replace(manifest, facts=facts))
