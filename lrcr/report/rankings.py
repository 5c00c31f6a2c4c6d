"""Pictures of rankings: each query with its box, and next to it its results, best first, with frames by grade."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from lrcr.data.decoding import ImageFile
from lrcr.data.images import Box, load_image
from lrcr.errors import ImageError, ParamsError
from lrcr.progress import SILENT, Progress
from lrcr.report.picture import COMPRESSION, LARGEST_SIDE, picture_format
from lrcr.storage.artifacts import staged_file

Grade = Literal["easy", "hard", "junk", "wrong"]

_SUBJECT = "rankings"
_CELL = (204, 216)  # width and height in pixels, as all sizes below
_FRAME, _GUTTER, _CAPTION = 4, 12, 56
_MARGIN = 16
_INK, _FAINT, _PAPER, _EMPTY = "#1c1f24", "#5b626d", "#ffffff", "#e3e6ea"
_QUERY_COLOUR = "#2563eb"
_GRADE_COLOURS = {"easy": "#1f9d4d", "hard": "#c77f00", "junk": "#858b95", "wrong": "#d03a3a"}


@dataclass(frozen=True)
class QueryTile:
    """A query to draw.

    Args:
        image: the whole photo, as a file or decoded.
        name: written below the photo; if it is too long, its middle is omitted.
        box: x0, y0, x1, y1 of the query, in pixels of the image as it is shown.
        method: name of the method that made the ranking; written instead of the word "query".
        note: a few characters, written next to `method`.
    """

    image: ImageFile | Image.Image
    name: str
    box: Box | None = None
    method: str = "query"
    note: str = ""


@dataclass(frozen=True)
class ResultTile:
    """A returned image to draw; its rank is its position in the sequence.

    Args:
        image: the photo, as a file or decoded.
        name: written below the photo; if it is too long, its middle is omitted.
        score: similarity to the query.
        grade: written below the photo, and the colour of its frame; None without ground truth.
    """

    image: ImageFile | Image.Image
    name: str
    score: float
    grade: Grade | None = None


def draw_rankings(
    path: Path,
    rows: Sequence[tuple[QueryTile, Sequence[ResultTile]]],
    *,
    orient: bool = True,
    subject: str = _SUBJECT,
    progress: Progress = SILENT,
) -> None:
    """Draw queries and their results into one picture, which is written atomically.

    A line has five results, or ten if a query has more than ten results. An image that cannot be read is drawn as a
    grey tile with a message.

    Args:
        path: file of the picture: .png, .jpg or .jpeg.
        rows: each query with its results, best first.
        orient: whether the EXIF orientation of image files is applied, as in their dataset.
        subject: what the rows are, for progress and errors.
        progress: one step for each query.

    Raises:
        ParamsError: the file has another suffix, there are no rows, or the picture would be too high.
    """
    picture = picture_format(path, subject)
    if not rows:
        raise ParamsError(f"{path}: no query to draw; name at least one")
    most = max(len(results) for _, results in rows)
    columns = 10 if most > 10 else min(5, max(1, most))
    span = 2 if most > columns else 1
    heights = [_CELL[1] * max(span, -(-len(results) // columns)) + _MARGIN for _, results in rows]
    if sum(heights) > LARGEST_SIDE:
        raise ParamsError(f"{path}: {len(rows)} queries make a picture higher than {LARGEST_SIDE} pixels; draw fewer")
    sheet = Image.new("RGB", (3 * _MARGIN + _CELL[0] * (span + columns), sum(heights) + _MARGIN), _PAPER)
    top = _MARGIN
    for (query, results), height in zip(progress.over(rows, f"drawing {subject}", len(rows)), heights, strict=True):
        _draw_query(sheet, _Cell(_MARGIN, top, span), query, orient)
        for position, result in enumerate(results):
            x = 2 * _MARGIN + _CELL[0] * (span + position % columns)
            _draw_result(sheet, _Cell(x, top + _CELL[1] * (position // columns)), position + 1, result, orient)
        top += height
    with staged_file(path) as temporary:
        sheet.save(temporary, format=picture, quality=90, compress_level=COMPRESSION)


@dataclass(frozen=True)
class _Cell:
    """A part of the sheet, `span` cells wide and high."""

    left: int
    top: int
    span: int = 1

    @property
    def room(self) -> tuple[int, int]:
        """Width and height of the area for the photo, inside its frame."""
        return self.span * _CELL[0] - _GUTTER - 2 * _FRAME, self.span * _CELL[1] - _CAPTION - 2 * _FRAME


def _draw_query(sheet: Image.Image, cell: _Cell, query: QueryTile, orient: bool) -> None:
    photo = fit_photo(query.image, cell.room, orient, query.box)
    _draw_photo(sheet, cell, photo, _QUERY_COLOUR)
    method = _shorten(query.method, cell.room[0] // 2)
    _draw_caption(sheet, cell, (method, "", query.note), query.name, _QUERY_COLOUR)


def _draw_result(sheet: Image.Image, cell: _Cell, rank: int, result: ResultTile, orient: bool) -> None:
    colour = _GRADE_COLOURS[result.grade] if result.grade else None
    _draw_photo(sheet, cell, fit_photo(result.image, cell.room, orient), colour)
    heading = (str(rank), f"{result.score:.3f}", result.grade or "")
    _draw_caption(sheet, cell, heading, result.name, colour or _INK)


def _draw_photo(sheet: Image.Image, cell: _Cell, photo: Image.Image, colour: str | None) -> None:
    """Draw the photo with a frame, centred in its cell and directly above the caption; without colour a thin frame."""
    x = cell.left + _FRAME + (cell.room[0] - photo.width) // 2
    y = cell.top + _FRAME + cell.room[1] - photo.height
    frame = _FRAME if colour else 1
    edges = (x - frame, y - frame, x + photo.width + frame - 1, y + photo.height + frame - 1)
    ImageDraw.Draw(sheet).rectangle(edges, fill=colour or _EMPTY)
    sheet.paste(photo, (x, y))


def _draw_caption(sheet: Image.Image, cell: _Cell, heading: tuple[str, str, str], name: str, colour: str) -> None:
    """Write two lines below the photo: the heading (left, middle and right text) and the name."""
    draw = ImageDraw.Draw(sheet)
    left, right = cell.left + 2, cell.left + cell.room[0] + 2 * _FRAME - 2
    baseline = cell.top + cell.room[1] + 2 * _FRAME + 19
    draw.text((left, baseline), heading[0], colour, _font(16, bold=True), "ls")
    draw.text(((left + right) // 2, baseline), heading[1], _INK, _font(15), "ms")
    draw.text((right, baseline), heading[2], colour, _font(15, bold=True), "rs")
    draw.text((left, baseline + 19), _shorten(name, right - left), _FAINT, _font(13), "ls")


def fit_photo(
    source: ImageFile | Image.Image, room: tuple[int, int], orient: bool, box: Box | None = None
) -> Image.Image:
    """The photo with its box, resized to the room; a grey tile if it cannot be read.

    Args:
        source: an image file, or a decoded photo.
        room: largest width and height, in pixels.
        orient: whether the EXIF orientation of a file is applied.
        box: x0, y0, x1, y1, in pixels of the image as it is shown; it is outlined.
    """
    try:
        photo, box = _load(source, orient, box)
    except ImageError:
        return _placeholder(room)
    scale = min(room[0] / photo.width, room[1] / photo.height)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    small = photo.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if box is not None:
        _draw_box(small, (box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale))
    return small


def _draw_box(photo: Image.Image, box: Box) -> None:
    """Outline the box in the query's colour between white lines, so that it is visible on any photo."""
    draw = ImageDraw.Draw(photo)
    for inset, colour in enumerate((_PAPER, _QUERY_COLOUR, _QUERY_COLOUR, _PAPER)):
        x0, y0 = box[0] + inset, box[1] + inset
        draw.rectangle((x0, y0, max(x0, box[2] - 1 - inset), max(y0, box[3] - 1 - inset)), outline=colour)


def _load(source: ImageFile | Image.Image, orient: bool, box: Box | None) -> tuple[Image.Image, Box | None]:
    """The whole photo and its box, both oriented."""
    if isinstance(source, Image.Image):
        return source.convert("RGB"), box
    photo = load_image(source, orient=orient, tolerate_truncated=True).pixels
    if box is None:
        return photo, None
    crop = load_image(source, orient=orient, box=box, tolerate_truncated=True)
    x, y = crop.origin
    return photo, (x, y, x + crop.pixels.width, y + crop.pixels.height)


def _placeholder(room: tuple[int, int]) -> Image.Image:
    tile = Image.new("RGB", room, _EMPTY)
    ImageDraw.Draw(tile).text((room[0] // 2, room[1] // 2), "cannot be read", _FAINT, _font(15), "mm")
    return tile


def _shorten(name: str, width: int) -> str:
    """The name; if it is wider than `width` pixels, its middle is replaced by an ellipsis."""
    name = "".join(character if character.isprintable() else "?" for character in name)
    if _font(13).getlength(name) <= width:
        return name
    kept = len(name) - 1
    while kept > 2 and _font(13).getlength(_elide(name, kept)) > width:
        kept -= 1
    return _elide(name, kept)


def _elide(name: str, kept: int) -> str:
    """`kept` characters of the name, more of its end than of its beginning, because names end with their numbers."""
    head = kept // 3
    return f"{name[:head]}…{name[len(name) - (kept - head) :]}"


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans from matplotlib's files, so that the pictures are the same on every machine."""
    file = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / file, size)
