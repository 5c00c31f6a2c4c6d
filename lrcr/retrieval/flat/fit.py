"""Learning the whitening of global vectors on the fit set: PCA, or discriminative from its labels."""

import logging
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lrcr.config.retrieval import CodebookParams
from lrcr.errors import ArtifactError
from lrcr.features.store import DescriptorStore
from lrcr.models.whitening import fit_discriminative_whitening, fit_whitening, read_whitening_file
from lrcr.progress import Progress
from lrcr.retrieval.flat.vectors import RowWhitening, to_vectors
from lrcr.retrieval.flat.whitening import save_whitening
from lrcr.storage.artifacts import Manifest

VECTORS_PER_DIMENSION = 5  # with fewer, whitening would amplify noise in the weakest components
_FEWEST = 2 * VECTORS_PER_DIMENSION  # vectors
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class WhiteningFit:
    """Whitening of global vectors; see `lrcr.retrieval.codebook.CodebookFit`.

    Args:
        params: the section `codebook`.
        kind: none, pca or discriminative.
    """

    params: CodebookParams
    kind: str

    def fit(self, store: DescriptorStore | None, folder: Path, manifest: Manifest, progress: Progress) -> None:
        """Write the whitening into an existing (staged) folder; see `CodebookFit`.

        Without a store and without `codebook.file` there is no whitening.

        Raises:
            ArtifactError: the fit set is too small, or has no labels.
            WeightsError: the file holds no whitening.
        """
        if store is not None:
            learned = learn_row_whitening(store, self.kind, self.params.dim, self.params.shrinkage)
        elif self.params.file is not None:
            learned = RowWhitening(*read_whitening_file(Path(self.params.file), "codebook.file"))
        else:
            learned = None
        save_whitening(folder, learned, manifest)


def learn_row_whitening(
    store: DescriptorStore, kind: str, dim: int | None, shrinkage: float = 1.0
) -> RowWhitening | None:
    """Learn a whitening of rows.

    Args:
        store: of the fit set; the facts of its manifest list the clusters of the images.
        kind: pca or discriminative (`lrcr.models.whitening`).
        dim: of whitened vectors; None: that of the rows. Reduced, with a warning, if there are too few rows.
        shrinkage: of PCA, from 0 (rotation only) to 1 (unit variance).

    Returns:
        The whitening; None, with a warning, if there are too few rows for PCA.

    Raises:
        ArtifactError: for the discriminative kind too few rows, or no two images share a label, or images have several
            rows.
    """
    rows = int(store.manifest.facts["descriptors"])
    if rows < _FEWEST and kind == "pca":
        _LOG.warning("codebook: no whitening: it needs %d vectors, and there are %d", _FEWEST, rows)
        return None
    if rows < _FEWEST:
        raise ArtifactError(f"{store.folder}: {rows} vectors to learn a whitening from; add images to the fit set")
    wanted = dim or next(store.shards()).descriptors.shape[1]
    learned = min(wanted, rows // VECTORS_PER_DIMENSION)
    if learned < wanted:
        _LOG.warning(
            "codebook: whitening to %d dimensions instead of %d: each needs %d vectors, and there are %d",
            *(learned, wanted, VECTORS_PER_DIMENSION, rows),
        )
    if kind == "pca":
        batches = (shard.descriptors.astype(np.float32) for shard in store.shards())
        return RowWhitening(*fit_whitening(batches, learned, shrinkage))
    images = store.read()
    if len(images) != rows:
        raise ArtifactError(f"{store.folder}: discriminative whitening needs one vector an image; use pca")
    return RowWhitening(*fit_discriminative_whitening(to_vectors(images, None), _pairs(store), learned))


def _pairs(store: DescriptorStore) -> npt.NDArray[np.int64]:
    """All pairs of two images of the same cluster, of shape (P, 2)."""
    clusters = np.array(store.manifest.facts["clusters"])
    ids, sizes = np.unique(clusters, return_counts=True)
    pairs = [pair for cluster in ids[sizes > 1] for pair in combinations(np.flatnonzero(clusters == cluster), 2)]
    if not pairs:
        raise ArtifactError(f"{store.folder}: no two images share a label; use codebook.whitening pca")
    return np.array(pairs, np.int64)
