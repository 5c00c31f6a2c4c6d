import numpy as np
import pytest
from PIL import ExifTags, Image

from lrcr.errors import ImageError, ParamsError
from lrcr.report.matches import PhotoKeypoints, ResultMatches, draw_matches
from lrcr.report.picture import blank_figure, save_figure
from lrcr.retrieval.asmk.explain import Match


@pytest.fixture
def photo(tmp_path):
    """A purple photo of 200 × 100, stored on its side."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (100, 200), "#800080").save(tmp_path / "photo.jpg", exif=exif, quality=95)
    return tmp_path / "photo.jpg"


def match(contribution, query, image):
    return Match(7, 0.5, contribution, np.array(query), np.array(image))


def draw(path, photo, matches, results=1):
    xy = np.array([[20, 50], [40, 50], [180, 80]], np.float32)
    place = PhotoKeypoints(photo, xy)
    draw_matches(path, place, [ResultMatches(place, "1. photo.jpg, 0.5", matches)] * results)
    with Image.open(path) as drawn:
        return np.array(drawn.convert("RGB"))


def purple(drawn):
    """Rows and columns of the photos' pixels."""
    return np.nonzero((abs(drawn.astype(int) - [128, 0, 128]) < 12).all(axis=2))


def changed(one, two):
    rows, columns = np.nonzero((one != two).any(axis=2))
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_a_line_goes_from_the_mean_place_in_the_query_to_that_in_the_result(tmp_path, photo):
    plain = draw(tmp_path / "plain.png", photo, [])
    drawn = draw(tmp_path / "drawn.png", photo, [match(0.2, [0, 1], [2])])
    rows, columns = purple(plain)
    left, right, title = columns.min(), columns.max(), rows.min()
    scale = (right - left) / (2 * 200 + 0.02 * 200)
    body = changed(plain[title:], drawn[title:])
    assert body[2] - left == pytest.approx(30 * scale, abs=8)
    assert body[3] - left == pytest.approx((200 * 1.02 + 180) * scale, abs=8)


def test_only_the_largest_matches_are_drawn(tmp_path, photo):
    many = [match(1 / (k + 1), [0], [1]) for k in range(60)]
    sixty = draw(tmp_path / "sixty.png", photo, many)
    more = draw(tmp_path / "more.png", photo, [*many, match(1e-9, [2], [2])])
    below_title = purple(sixty)[0].min()
    np.testing.assert_array_equal(sixty[below_title:], more[below_title:])


def test_each_result_has_a_row(tmp_path, photo):
    assert draw(tmp_path / "three.png", photo, [match(0.1, [0], [0])], results=3).shape == (1200, 1100, 3)


def test_bad_pictures_are_refused(tmp_path, photo):
    with pytest.raises(ParamsError, match=r"matches.gif: a picture of matches is a .png, .jpg or .jpeg; name it so"):
        draw(tmp_path / "matches.gif", photo, [])
    with pytest.raises(ParamsError, match="no result to draw"):
        draw(tmp_path / "none.png", photo, [], results=0)
    with pytest.raises(
        ParamsError, match=r"high.png: a picture of matches of 65600 pixels is higher than 65500; draw fewer"
    ):
        save_figure(tmp_path / "high.png", blank_figure(1, 656), "matches")
    with pytest.raises(ImageError):
        draw(tmp_path / "missing.png", tmp_path / "missing.jpg", [])
    assert not list(tmp_path.glob("*.png"))
