"""Picture files: their formats, and writing a figure to a file."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from lrcr.errors import ParamsError
from lrcr.storage.artifacts import staged_file

_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
COMPRESSION = 2  # of PNG: a tenth larger than at the default, 6, and written in a third of the time
LARGEST_SIDE = 65_500  # pixels, the limit of JPEG
_DPI = 100  # pixels per inch
_PAD = 0.07  # inches around each axis


def picture_format(path: Path, subject: str) -> str:
    """The format of a picture file, from its suffix: png or jpeg.

    Args:
        subject: the subject of the picture, for the error message.

    Raises:
        ParamsError: the file has another suffix.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ParamsError(f"{path}: a picture of {subject} is a .png, .jpg or .jpeg; name it so")
    return _FORMATS[path.suffix.lower()]


def blank_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, with 100 pixels per inch; it needs no display."""
    figure = Figure(figsize=(width, height), dpi=_DPI, layout=ConstrainedLayoutEngine(w_pad=_PAD, h_pad=_PAD))
    FigureCanvasAgg(figure)
    return figure


def save_figure(path: Path, figure: Figure, subject: str) -> None:
    """Write a figure to a picture file, atomically.

    Raises:
        ParamsError: the suffix is not that of a picture, or the figure is too high.
    """
    picture, height = picture_format(path, subject), round(figure.get_figheight() * figure.dpi)
    if height > LARGEST_SIDE:
        raise ParamsError(
            f"{path}: a picture of {subject} of {height} pixels is higher than {LARGEST_SIDE}; draw fewer"
        )
    with staged_file(path) as temporary:
        figure.savefig(temporary, format=picture, pil_kwargs={"compress_level": COMPRESSION})
