"""Whitening of global vectors, learned on the fit set: PCA, or discriminative from its labels."""

import logging
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.errors import ArtifactError
from lrcr.features.store import DescriptorStore
from lrcr.models.whitening import fit_discriminative_whitening, fit_whitening
from lrcr.retrieval.flat.vectors import RowWhitening, to_vectors
from lrcr.storage.artifacts import Manifest, hash_file, open_manifest, write_manifest

VECTORS_PER_DIMENSION = 5  # with fewer, noise of the weakest components is blown up to the strongest ones' size
_NAMES = ("weight", "bias")
_LOG = logging.getLogger(__name__)


def learn_row_whitening(store: DescriptorStore, kind: str, dim: int | None) -> RowWhitening:
    """Learn a whitening of rows.

    Args:
        store: of the fit set; its manifest tells the clusters of the images.
        kind: pca or discriminative (`lrcr.models.whitening`).
        dim: of whitened vectors; None takes the rows' own. Reduced, with a warning, where there are too few rows.

    Raises:
        ArtifactError: too few rows, or for the discriminative kind no two images share a label, or images have several
            rows.
    """
    rows = int(store.manifest.facts["descriptors"])
    if rows < 2 * VECTORS_PER_DIMENSION:
        raise ArtifactError(f"{store.folder}: {rows} vectors to learn a whitening from; add images to the fit set")
    wanted = dim or next(store.shards()).descriptors.shape[1]
    kept = min(wanted, rows // VECTORS_PER_DIMENSION)
    if kept < wanted:
        _LOG.warning(
            "codebook: whitening to %d dimensions asked for, %d learned: each takes %d vectors and there are %d",
            *(wanted, kept, VECTORS_PER_DIMENSION, rows),
        )
    if kind == "pca":
        batches = (shard.descriptors.astype(np.float32) for shard in store.shards())
        return RowWhitening(*fit_whitening(batches, kept))
    images = store.read()
    if len(images) != rows:
        raise ArtifactError(f"{store.folder}: discriminative whitening takes one vector an image; use pca")
    return RowWhitening(*fit_discriminative_whitening(to_vectors(images, None), _pairs(store), kept))


def _pairs(store: DescriptorStore) -> npt.NDArray[np.int64]:
    """All pairs of images of one cluster, of shape (P, 2)."""
    clusters = np.array(store.manifest.facts["clusters"])
    ids, sizes = np.unique(clusters, return_counts=True)
    found = [pair for own in ids[sizes > 1] for pair in combinations(np.flatnonzero(clusters == own), 2)]
    if not found:
        raise ArtifactError(f"{store.folder}: no two images share a label; use codebook.whitening pca")
    return np.array(found, np.int64)


def save_whitening(folder: Path, whitening: RowWhitening | None, manifest: Manifest) -> None:
    """Store a whitening, or that there is none, in an existing (staged) folder; hashes join the manifest's facts."""
    facts: dict[str, Any] = {}
    if whitening is not None:
        for name in _NAMES:
            np.save(folder / f"{name}.npy", getattr(whitening, name))
        facts = {"dimensions": len(whitening.bias), "sha256": {n: hash_file(folder / f"{n}.npy") for n in _NAMES}}
    write_manifest(folder, replace(manifest, facts={**manifest.facts, **facts}))


def open_whitening(folder: Path) -> tuple[RowWhitening | None, Manifest]:
    """Open a stored whitening; None where there is none.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    manifest = open_manifest(folder, "codebook")
    hashes = manifest.facts.get("sha256")
    if hashes is None:
        return None, manifest
    for name in _NAMES:
        path = folder / f"{name}.npy"
        if not path.is_file() or not isinstance(hashes, dict) or hash_file(path) != hashes.get(name):
            raise ArtifactError(f"{path}: missing or altered since it was made; learn the codebook again")
    weight, bias = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in _NAMES)
    return RowWhitening(weight, bias), manifest
