"""Names in an index folder of what a search needs apart from the index itself."""

from pathlib import Path

from lrcr.errors import ParamsError
from lrcr.storage.artifacts import MANIFEST

MODEL = "model.safetensors"
CODEBOOK = "codebook"
IMAGES = "images.parquet"
PARAMS = "params.json"


def require_place(folder: Path) -> None:
    """Refuse to replace a folder that is not an index.

    Raises:
        ParamsError: the folder exists and has no manifest.
    """
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise ParamsError(f"{folder}: exists and is not an index; name another folder")
