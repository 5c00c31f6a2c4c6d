"""Storing the whitening of global vectors."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lrcr.errors import ArtifactError
from lrcr.retrieval.flat.vectors import RowWhitening
from lrcr.storage.artifacts import Manifest, hash_file, open_manifest, write_manifest

_NAMES = ("weight", "bias")


def save_whitening(folder: Path, whitening: RowWhitening | None, manifest: Manifest) -> None:
    """Write a whitening, or that there is none, into an existing (staged) folder; hashes go to the manifest's facts."""
    facts: dict[str, Any] = {}
    if whitening is not None:
        for name in _NAMES:
            np.save(folder / f"{name}.npy", getattr(whitening, name))
        facts = {"dimensions": len(whitening.bias), "sha256": {n: hash_file(folder / f"{n}.npy") for n in _NAMES}}
    write_manifest(folder, replace(manifest, facts={**manifest.facts, **facts}))


def open_whitening(folder: Path) -> tuple[RowWhitening | None, Manifest]:
    """Read a stored whitening, or None if there is none, and its manifest.

    Raises:
        ArtifactError: a file is missing or damaged.
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
