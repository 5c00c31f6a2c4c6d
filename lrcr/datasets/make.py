"""From the params of a dataset to its tables."""

from pathlib import Path

from lrcr.artifacts import staged_folder
from lrcr.datasets.folder import make_folder
from lrcr.datasets.synthetic import make_synthetic
from lrcr.params import FolderParams, SyntheticParams
from lrcr.progress import Track, silent


def make_dataset(
    name: str, params: FolderParams | SyntheticParams, folder: Path, *, seed: int, track: Track = silent
) -> None:
    """Make the dataset `name` in `folder`, replacing what is there only when it is complete.

    Raises:
        DatasetError: the source is missing or contradicts itself.
    """
    with staged_folder(folder) as temporary:
        if isinstance(params, FolderParams):
            make_folder(temporary, name, params, track=track)
        else:
            make_synthetic(temporary, name, params, seed=seed, track=track)
