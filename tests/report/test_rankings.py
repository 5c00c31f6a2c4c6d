import re

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image

from lrcr.errors import ParamsError
from lrcr.progress import Progress
from lrcr.report import rankings as module
from lrcr.report.groups import draw_groups
from lrcr.report.rankings import QueryTile, ResultTile, draw_rankings

GREEN, AMBER, GREY, RED, BLUE = "#1f9d4d", "#c77f00", "#858b95", "#d03a3a", "#2563eb"
PHOTO = Image.new("RGB", (80, 60), "#800080")
QUERY = QueryTile(PHOTO, "query.jpg")


def draw(tmp_path, rows, **options):
    """The sheet as an array of shape (height, width, 3)."""
    draw_rankings(tmp_path / "sheet.png", rows, **options)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert (sheet.format, sheet.mode) == ("PNG", "RGB")
        return np.array(sheet)


def count(sheet, colour):
    channels = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return int((sheet == channels).all(axis=2).sum())


def results(number, grade=None):
    return [ResultTile(PHOTO, f"{place}.jpg", 1 - place / 100, grade) for place in range(number)]


@pytest.mark.parametrize(
    ("number", "columns", "lines", "span"), [(0, 1, 1, 1), (3, 3, 1, 1), (5, 5, 1, 1), (10, 5, 2, 2), (50, 10, 5, 2)]
)
def test_results_wrap_into_lines(tmp_path, number, columns, lines, span):
    sheet = draw(tmp_path, [(QUERY, results(number))])
    assert sheet.shape == (216 * lines + 2 * 16, 204 * (span + columns) + 3 * 16, 3)
    tiles = count(sheet, "#800080")
    one = count(draw(tmp_path, [(QUERY, [])]), "#800080")
    query = count(draw(tmp_path, [(QUERY, results(6))]), "#800080") - 6 * one if span == 2 else one
    assert tiles == query + number * one


@pytest.mark.parametrize(("grade", "colour"), [("easy", GREEN), ("hard", AMBER), ("junk", GREY), ("wrong", RED)])
def test_each_grade_has_its_frame_and_its_word(tmp_path, grade, colour):
    plain, framed = (draw(tmp_path, [(QUERY, results(1, of))]) for of in (None, grade))
    assert count(plain, colour) == 0
    assert count(framed, colour) > 4 * 2 * (184 + 138)
    word_area = framed[216 - 56 + 16 + 8 :, -80:]
    assert (word_area != plain[216 - 56 + 16 + 8 :, -80:]).any()


def test_the_method_and_a_note_stand_below_the_query(tmp_path):
    plain, named, noted = (
        draw(tmp_path, [(QueryTile(PHOTO, "query.jpg", method=method, note=note), [])])
        for method, note in (("query", ""), ("a baseline of a very long name", ""), ("query", "AP 12.3"))
    )
    assert np.nonzero((plain != named).any(axis=2))[1].max() < 16 + 204 / 2 + 30
    assert np.nonzero((plain != noted).any(axis=2))[1].min() > 16 + 204 / 2


def test_grades_and_ranks_stand_in_order(tmp_path):
    grades = ("easy", "wrong", "hard")
    sheet = draw(tmp_path, [(QUERY, [ResultTile(PHOTO, "a", 0.5, grade) for grade in grades])])
    for place, colour in enumerate((GREEN, RED, AMBER)):
        left = 2 * 16 + 204 * (1 + place)
        assert count(sheet[:, left : left + 204], colour) == count(sheet, colour) > 0


def test_the_box_is_outlined_in_the_query(tmp_path):
    plain = draw(tmp_path, [(QUERY, [])])
    boxed = draw(tmp_path, [(QueryTile(PHOTO, "query.jpg", (0, 0, 20, 60)), [])])
    rows, columns = np.nonzero((plain != boxed).any(axis=2))
    scale = 184 / 80
    assert columns.max() - columns.min() + 1 == pytest.approx(20 * scale, abs=2)
    assert rows.max() - rows.min() + 1 == pytest.approx(60 * scale, abs=2)
    assert columns.min() == 16 + 4


@pytest.mark.parametrize("orient", [True, False])
def test_the_box_is_of_the_photo_as_it_is_drawn(tmp_path, orient):
    """A photo stored on its side, its box around the white quarter: at the upper left as stored, right as shown."""
    photo = Image.new("RGB", (80, 60), "#800080")
    photo.paste("white", (0, 0, 40, 30))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    photo.save(tmp_path / "photo.png", exif=exif)
    plain, boxed = (
        draw(tmp_path, [(QueryTile(tmp_path / "photo.png", "", box), [])], orient=orient)
        for box in (None, (30.0, 0.0, 60.0, 40.0) if orient else (0.0, 0.0, 40.0, 30.0))
    )
    outlined = np.nonzero((plain != boxed).any(axis=2))[1]
    photo_rows, photo_columns = np.nonzero((plain == (128, 0, 128)).all(axis=2))
    assert (np.ptp(photo_rows) > np.ptp(photo_columns)) == orient
    on_the_right = outlined.mean() > (photo_columns.min() + photo_columns.max()) / 2
    assert on_the_right == orient


def test_an_unreadable_image_becomes_a_grey_tile_that_says_so(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    tiles = [ResultTile(tmp_path / name, name, 0.5) for name in ("broken.jpg", "missing.jpg")]
    sheet = draw(tmp_path, [(QueryTile(tmp_path / "broken.jpg", "q", (0, 0, 1, 1)), tiles)])
    blank = module._placeholder((184, 152))
    assert count(sheet, "#e3e6ea") >= 3 * count(np.array(blank), "#e3e6ea")
    assert count(np.array(blank), "#e3e6ea") < 184 * 152


@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 3000), (30, 400)])
def test_photos_of_any_shape_fit_their_tile(tmp_path, size):
    photo = Image.new("L", size, 128)
    sheet = draw(tmp_path, [(QueryTile(photo, "q", (0, 0, *size)), [ResultTile(photo, "r", 0.1, "easy")])])
    assert sheet.shape == (216 + 32, 204 * 2 + 48, 3)
    assert count(sheet, GREEN) > 0


def test_long_names_lose_their_middle():
    name = "a_very_long_folder_name_indeed/of_many_photos_000123_rank7.jpg"
    short = module._shorten(name, 190)
    head, tail = short.split("…")
    assert name.startswith(head) and name.endswith(tail) and head and "rank7.jpg" in tail
    assert 150 < module._font(13).getlength(short) <= 190
    assert module._shorten("short.jpg", 190) == "short.jpg"


def test_names_that_cannot_be_printed_do_not_stop_the_picture(tmp_path):
    assert module._shorten("two\nlines\udcff.jpg", 190) == "two?lines?.jpg"
    draw(tmp_path, [(QueryTile(PHOTO, "\n" * 200), [ResultTile(PHOTO, "塔/ö\x00" * 40, 1.0)])])


class Recorder(Progress):
    def __init__(self):
        self.tasks, self.steps = [], 0

    def task(self, description, total):
        self.tasks.append((description, total))
        return super().task(description, total)

    def advance(self, steps=1):
        self.steps += steps


def test_several_queries_stand_below_each_other_and_are_reported(tmp_path):
    progress = Recorder()
    sheet = draw(tmp_path, [(QUERY, results(7)), (QUERY, results(2)), (QUERY, [])], progress=progress)
    assert sheet.shape[0] == 3 * (2 * 216 + 16) + 16
    assert (progress.tasks, progress.steps) == ([("drawing rankings", 3)], 3)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
def test_jpeg_by_suffix(tmp_path, suffix):
    path = tmp_path / f"sheet{suffix}"
    draw_rankings(path, [(QUERY, results(2))])
    with Image.open(path) as sheet:
        assert sheet.format == "JPEG"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_equal_rankings_give_equal_pictures(tmp_path):
    for name in ("a.png", "b.png"):
        draw_rankings(tmp_path / name, [(QUERY, results(4, "easy"))])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("sheet.gif", [(QUERY, [])], "sheet.gif: a picture of rankings is a .png, .jpg or .jpeg; name it so"),
        ("sheet", [(QUERY, [])], "sheet: a picture of rankings is a .png, .jpg or .jpeg; name it so"),
        ("sheet.png", [], "sheet.png: no query to draw; name at least one"),
        ("sheet.png", [(QUERY, [])] * 300, "300 queries make a picture higher than 65500 pixels; draw fewer"),
    ],
)
def test_what_cannot_be_drawn(tmp_path, name, rows, message):
    with pytest.raises(ParamsError, match=re.escape(message)):
        draw_rankings(tmp_path / name, rows)
    assert not list(tmp_path.iterdir())


def test_the_most_groups_fit_into_a_picture(tmp_path, monkeypatch):
    sheets = []
    monkeypatch.setattr(module, "_draw_query", lambda *_: None)
    monkeypatch.setattr(module, "_draw_result", lambda *_: None)
    monkeypatch.setattr(module.Image.Image, "save", lambda sheet, file, **_: sheets.append(sheet.size) or file.touch())
    found = [(group, f"{image}.png", f"{image}.png", 0.5) for group in range(1, 101) for image in range(40)]
    draw_groups(tmp_path / "a.png", pd.DataFrame(found, columns=["group", "path", "image", "score"]))
    assert sheets[0][1] < 65_500
