"""Making a dataset, its tables and its description, from its params."""

from pathlib import Path

from lrcr.config.datasets import (
    DatasetParams,
    DistractorParams,
    FolderParams,
    GoogleParams,
    RevisitedParams,
    SyntheticParams,
)
from lrcr.datasets.fetch import Store
from lrcr.datasets.folder import make_folder
from lrcr.datasets.gldv2 import make_gldv2
from lrcr.datasets.revisited import make_distractors, make_revisited
from lrcr.datasets.sfm120k import make_sfm120k
from lrcr.datasets.synthetic import make_synthetic
from lrcr.progress import SILENT, Progress
from lrcr.storage.artifacts import staged_folder

CHECKSUMS = Path("checksums.json")
"""The default file of the recorded checksums of downloads; commit it."""


def make_dataset(
    name: str,
    params: DatasetParams,
    folder: Path,
    *,
    seed: int,
    checksums: Path = CHECKSUMS,
    progress: Progress = SILENT,
) -> None:
    """Make the dataset `name` in `folder`; an earlier one there is replaced only when the new one is complete.

    Args:
        seed: determines a synthetic dataset; unused for other kinds.
        checksums: file of the recorded checksums of downloads (`lrcr.datasets.checksums`).

    Raises:
        DatasetError: the source is missing or contradicts itself.
        DownloadError: a public file cannot be downloaded or differs from its checksum.
    """
    with staged_folder(folder) as temporary:
        if isinstance(params, FolderParams):
            make_folder(temporary, name, params, progress=progress)
        elif isinstance(params, SyntheticParams):
            make_synthetic(temporary, name, params, seed=seed, progress=progress)
        else:
            store = Store.from_environment(checksums)
            if isinstance(params, RevisitedParams):
                make_revisited(temporary, name, params, store, progress=progress)
            elif isinstance(params, DistractorParams):
                make_distractors(temporary, name, params, store, progress=progress)
            elif isinstance(params, GoogleParams):
                make_gldv2(temporary, name, params, store, progress=progress)
            else:
                make_sfm120k(temporary, name, params, store, progress=progress)
