import pandas as pd
import pytest

from lrcr.data.dataset import open_dataset
from lrcr.data.regions import REGIONS, empty_regions, read_regions, write_regions
from lrcr.errors import ArtifactError, DatasetError

IMAGES = pd.DataFrame({"image": [0, 1, 2], "width": [8, 6, 4], "height": [6, 8, 4]})
COLUMNS = ["image", "x0", "y0", "x1", "y1", "score"]


def table(*rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS)


def test_a_table_is_read_as_it_was_written_sorted_by_image(tmp_path):
    written = table((2, 0, 0, 4, 4, 0.5), (0, 1.5, 0, 8, 6, 0.25), (2, 1, 1, 2, 2, 0.75))
    found = read_regions(tmp_path, write_regions(tmp_path, written), IMAGES)
    assert found.to_numpy().tolist() == [[0, 1.5, 0, 8, 6, 0.25], [2, 0, 0, 4, 4, 0.5], [2, 1, 1, 2, 2, 0.75]]
    assert found["image"].dtype == "int64"


def test_without_a_table_there_are_no_regions(tmp_path):
    pd.testing.assert_frame_equal(read_regions(tmp_path, None, IMAGES), empty_regions())


def test_a_table_that_was_added_later_is_read(tmp_path, draw_dataset):
    folder = draw_dataset(tmp_path / "data", [(48, 36)] * 2, ["a", "a"])
    assert open_dataset(folder).regions.empty
    table((1, 0, 0, 48, 36, 1)).to_parquet(folder / REGIONS)
    assert open_dataset(folder).regions["image"].tolist() == [1]


@pytest.mark.parametrize("change", ["missing", "altered"])
def test_a_listed_table_that_is_missing_or_altered_is_refused(tmp_path, draw_dataset, change):
    folder = draw_dataset(tmp_path / "data", [(48, 36)] * 2, ["a", "a"], regions=table((0, 0, 0, 4, 4, 1)))
    assert len(open_dataset(folder).regions) == 1
    if change == "missing":
        (folder / REGIONS).unlink()
    else:
        write_regions(folder, table((1, 0, 0, 4, 4, 1)))
    with pytest.raises(ArtifactError, match=r"regions\.parquet: missing or altered since it was made; make the dat"):
        open_dataset(folder)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((3, 0, 0, 4, 4, 1), r"image 3 does not exist \(0…2\); correct it"),
        ((-1, 0, 0, 4, 4, 1), r"image -1 does not exist"),
        (
            (0, 0, 0, 9, 4, 1),
            r"row 1: box \[0\.0, 0\.0, 9\.0, 4\.0\] with score 1\.0 is no region of image 0 \(8 × 6 p",
        ),
        ((0, -1, 0, 4, 4, 1), "row 1: box"),
        ((0, 2, 0, 2, 4, 1), "row 1: box"),
        ((0, 2.1, 0, 2.4, 4, 1), "row 1: box"),
        ((0, 0, 4, 4, 3, 1), "row 1: box"),
        ((0, 0, float("nan"), 4, 4, 1), "row 1: box"),
        ((0, 0, 0, 4, 4, float("inf")), "row 1: box"),
    ],
)
def test_regions_that_do_not_fit_their_image_are_refused(tmp_path, row, message):
    write_regions(tmp_path, table((1, 0, 0, 6, 8, 1), row))
    with pytest.raises(DatasetError, match=rf"regions\.parquet: {message}"):
        read_regions(tmp_path, None, IMAGES)


def test_other_files_are_refused(tmp_path):
    table((1, 0, 0, 6, 8, 1)).drop(columns="score").to_parquet(tmp_path / REGIONS)
    with pytest.raises(DatasetError, match=r"regions\.parquet: not a table of image, x0, y0, x1, y1, score \(.*score"):
        read_regions(tmp_path, None, IMAGES)
    (tmp_path / REGIONS).write_text("text")
    with pytest.raises(DatasetError, match=r"regions\.parquet: not a table of image"):
        read_regions(tmp_path, None, IMAGES)
