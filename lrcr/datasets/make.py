"""Making a dataset, its tables and its description, from its params."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
from lrcr.runtime.shares import own_share, refuse_share
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
        ShareMade: this process has made its share of reading the images (`lrcr.runtime.shares`).
    """
    if isinstance(params, SyntheticParams):
        refuse_share("a synthetic dataset")
    with _place_for(folder) as temporary:
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


@contextmanager
def _place_for(folder: Path) -> Iterator[Path]:
    """A folder to make the dataset in. A process that makes a share has one of its own, because it makes no dataset."""
    if own_share() is None:
        with staged_folder(folder) as temporary:
            yield temporary
    else:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
