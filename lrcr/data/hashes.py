"""The hashes of the image files of a dataset."""

import hashlib
from pathlib import Path

import pandas as pd

from lrcr.data.dataset import DESCRIPTION
from lrcr.errors import ArtifactError
from lrcr.storage.artifacts import Manifest, read_json

CONTENTS = "contents.parquet"
"""The hashes of the image files of a folder dataset: columns `path` and `sha256`."""


def hash_contents(hashes: dict[str, str]) -> str:
    """One hash over all images (and masks) of a dataset, given path → hash of each."""
    digest = hashlib.sha256()
    for path in sorted(hashes):
        digest.update(f"{path}\0{hashes[path]}\n".encode())
    return digest.hexdigest()


def image_hashes(folder: Path) -> dict[str, str]:
    """Path → SHA-256 of the image files of the dataset in `folder`; {} where it does not store them.

    Raises:
        ArtifactError: they are not those of the dataset.
    """
    file, description = folder / CONTENTS, folder / DESCRIPTION
    if not file.exists():
        return {}
    table = pd.read_parquet(file)
    hashes = dict(zip(table["path"], table["sha256"], strict=True))
    manifest = Manifest.from_dict(read_json(description), description, "dataset")
    if hash_contents(hashes) != manifest.inputs.get("contents"):
        raise ArtifactError(f"{file}: altered since it was made; make the dataset again")
    return hashes
