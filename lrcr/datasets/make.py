"""From the params of a dataset to its tables."""

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
"""Where the checksums of downloaded files are recorded, unless another file is named; to be committed."""


def make_dataset(
    name: str,
    params: DatasetParams,
    folder: Path,
    *,
    seed: int,
    checksums: Path = CHECKSUMS,
    progress: Progress = SILENT,
) -> None:
    """Make the dataset `name` in `folder`, replacing what is there only when it is complete.

    Args:
        checksums: the record of downloaded files (`lrcr.datasets.checksums`).

    Raises:
        DatasetError: the source is missing or contradicts itself.
        DownloadError: a public file cannot be had.
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
