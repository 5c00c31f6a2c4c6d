"""Pictures of rankings: each query with its box, and beside it what was returned, best first, framed by grade."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from lrcr.data.images import Box, ImageFile, load_image
from lrcr.errors import ImageError, ParamsError
from lrcr.progress import SILENT, Progress
from lrcr.report.picture import picture_format
from lrcr.storage.artifacts import staged_file

Grade = Literal["easy", "hard", "junk", "wrong"]

_SUBJECT = "rankings"
_LARGEST_SIDE = 65_500  # JPEG stores no more
_CELL = (204, 216)
_FRAME, _GUTTER, _CAPTION = 4, 12, 56
_MARGIN = 16
_INK, _FAINT, _PAPER, _EMPTY = "#1c1f24", "#5b626d", "#ffffff", "#e3e6ea"
_QUERY_COLOUR = "#2563eb"
_GRADE_COLOURS = {"easy": "#1f9d4d", "hard": "#c77f00", "junk": "#858b95", "wrong": "#d03a3a"}


@dataclass(frozen=True)
class QueryTile:
    """A query to be drawn.

    Args:
        image: the whole photo, as a file or decoded.
        name: written below it, shortened in the middle where it is too long.
        box: x0, y0, x1, y1 of what is asked, in pixels of the image as stored (of a decoded one: of its pixels).
        method: what made the ranking; written in place of the word "query".
        note: a few characters, written beside that.
    """

    image: ImageFile | Image.Image
    name: str
    box: Box | None = None
    method: str = "query"
    note: str = ""


@dataclass(frozen=True)
class ResultTile:
    """A returned image to be drawn; its rank is its place in the sequence.

    Args:
        image: the photo, as a file or decoded.
        name: written below it, shortened in the middle where it is too long.
        score: its similarity to the query.
        grade: gives a coloured frame and a word; None where the truth is not known.
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
    progress: Progress = SILENT,
) -> None:
    """Draw queries and their results, five in a line (ten if a query has more than ten), into one picture; atomically.

    An image that cannot be read becomes a grey tile that says so.

    Args:
        path: where the picture goes: .png, .jpg or .jpeg.
        rows: each query with its results, best first.
        orient: whether the EXIF orientation of image files is applied, as in the dataset they come from.
        track: reports the queries done.

    Raises:
        ParamsError: another suffix, no rows, or more rows than a picture can hold.
    """
    picture = picture_format(path, _SUBJECT)
    if not rows:
        raise ParamsError(f"{path}: no query to draw; name at least one")
    most = max(len(results) for _, results in rows)
    columns = 10 if most > 10 else min(5, max(1, most))
    span = 2 if most > columns else 1
    heights = [_CELL[1] * max(span, -(-len(results) // columns)) + _MARGIN for _, results in rows]
    if sum(heights) > _LARGEST_SIDE:
        raise ParamsError(f"{path}: {len(rows)} queries make a picture higher than {_LARGEST_SIDE} pixels; draw fewer")
    sheet = Image.new("RGB", (3 * _MARGIN + _CELL[0] * (span + columns), sum(heights) + _MARGIN), _PAPER)
    top = _MARGIN
    for (query, results), height in zip(progress.over(rows, "drawing rankings", len(rows)), heights, strict=True):
        _draw_query(sheet, _Cell(_MARGIN, top, span), query, orient)
        for place, result in enumerate(results):
            x = 2 * _MARGIN + _CELL[0] * (span + place % columns)
            _draw_result(sheet, _Cell(x, top + _CELL[1] * (place // columns)), place + 1, result, orient)
        top += height
    with staged_file(path) as temporary:
        sheet.save(temporary, format=picture, quality=90)


@dataclass(frozen=True)
class _Cell:
    """A place on the sheet, `span` cells wide and high."""

    left: int
    top: int
    span: int = 1

    @property
    def room(self) -> tuple[int, int]:
        """Width and height that are left for the photo inside its frame."""
        return self.span * _CELL[0] - _GUTTER - 2 * _FRAME, self.span * _CELL[1] - _CAPTION - 2 * _FRAME


def _draw_query(sheet: Image.Image, cell: _Cell, query: QueryTile, orient: bool) -> None:
    photo = _fit(query.image, cell.room, orient, query.box)
    _draw_photo(sheet, cell, photo, _QUERY_COLOUR)
    method = _shorten(query.method, cell.room[0] // 2)
    _draw_caption(sheet, cell, (method, "", query.note), query.name, _QUERY_COLOUR)


def _draw_result(sheet: Image.Image, cell: _Cell, rank: int, result: ResultTile, orient: bool) -> None:
    colour = _GRADE_COLOURS[result.grade] if result.grade else None
    _draw_photo(sheet, cell, _fit(result.image, cell.room, orient), colour)
    heading = (str(rank), f"{result.score:.3f}", result.grade or "")
    _draw_caption(sheet, cell, heading, result.name, colour or _INK)


def _draw_photo(sheet: Image.Image, cell: _Cell, photo: Image.Image, colour: str | None) -> None:
    """Put the photo into the middle of its cell, just above the caption, in a frame (without colour, a hairline)."""
    x = cell.left + _FRAME + (cell.room[0] - photo.width) // 2
    y = cell.top + _FRAME + cell.room[1] - photo.height
    frame = _FRAME if colour else 1
    edges = (x - frame, y - frame, x + photo.width + frame - 1, y + photo.height + frame - 1)
    ImageDraw.Draw(sheet).rectangle(edges, fill=colour or _EMPTY)
    sheet.paste(photo, (x, y))


def _draw_caption(sheet: Image.Image, cell: _Cell, heading: tuple[str, str, str], name: str, colour: str) -> None:
    """Write a line of three words (left, middle, right) and a line of name below the photo."""
    draw = ImageDraw.Draw(sheet)
    left, right = cell.left + 2, cell.left + cell.room[0] + 2 * _FRAME - 2
    baseline = cell.top + cell.room[1] + 2 * _FRAME + 19
    draw.text((left, baseline), heading[0], colour, _font(16, bold=True), "ls")
    draw.text(((left + right) // 2, baseline), heading[1], _INK, _font(15), "ms")
    draw.text((right, baseline), heading[2], colour, _font(15, bold=True), "rs")
    draw.text((left, baseline + 19), _shorten(name, right - left), _FAINT, _font(13), "ls")


def _fit(source: ImageFile | Image.Image, room: tuple[int, int], orient: bool, box: Box | None = None) -> Image.Image:
    """The photo, as large as there is room, with its box drawn; a grey tile where it cannot be read."""
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
    """Outline the box in the query's colour between white lines, so that it shows on any photo."""
    draw = ImageDraw.Draw(photo)
    for inset, colour in enumerate((_PAPER, _QUERY_COLOUR, _QUERY_COLOUR, _PAPER)):
        x0, y0 = box[0] + inset, box[1] + inset
        draw.rectangle((x0, y0, max(x0, box[2] - 1 - inset), max(y0, box[3] - 1 - inset)), outline=colour)


def _load(source: ImageFile | Image.Image, orient: bool, box: Box | None) -> tuple[Image.Image, Box | None]:
    """The whole photo and its box, both oriented."""
    if isinstance(source, Image.Image):
        return source.convert("RGB"), box
    photo = load_image(source, orient=orient).pixels
    if box is None:
        return photo, None
    crop = load_image(source, orient=orient, box=box)
    x, y = crop.origin
    return photo, (x, y, x + crop.pixels.width, y + crop.pixels.height)


def _placeholder(room: tuple[int, int]) -> Image.Image:
    tile = Image.new("RGB", room, _EMPTY)
    ImageDraw.Draw(tile).text((room[0] // 2, room[1] // 2), "cannot be read", _FAINT, _font(15), "mm")
    return tile


def _shorten(name: str, width: int) -> str:
    """The name as it is, or with its middle replaced by … so that it is at most `width` pixels wide."""
    name = "".join(character if character.isprintable() else "?" for character in name)
    if _font(13).getlength(name) <= width:
        return name
    kept = len(name) - 1
    while kept > 2 and _font(13).getlength(_elide(name, kept)) > width:
        kept -= 1
    return _elide(name, kept)


def _elide(name: str, kept: int) -> str:
    """`kept` characters of the name, more of its end than of its beginning: there the numbers stand."""
    head = kept // 3
    return f"{name[:head]}…{name[len(name) - (kept - head) :]}"


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as it comes with matplotlib, so that the pictures look the same on every machine."""
    file = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / file, size)
