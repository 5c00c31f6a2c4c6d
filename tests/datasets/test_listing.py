import os
import shutil

import pytest

from lrcr.datasets.listing import list_folder
from lrcr.errors import DatasetError


@pytest.fixture
def photos(tmp_path):
    """A folder of photos, which are not read."""
    for name in ("images/a.jpg", "images/b/a.jpg", "images/b/c.jpg", "labels.csv"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_text(name)
    os.utime(tmp_path / "photos/images/a.jpg", ns=(7, 9))
    return tmp_path / "photos"


def listed(folder, tmp_path):
    list_folder(folder, tmp_path / "list.tsv")
    return (tmp_path / "list.tsv").read_bytes()


def test_names_sizes_and_times_are_listed(photos, tmp_path):
    lines = [line.split(b"\t") for line in listed(photos, tmp_path).splitlines()]
    assert [line[:2] for line in lines] == [
        [b"images/a.jpg", b"12"],
        [b"images/b/a.jpg", b"14"],
        [b"images/b/c.jpg", b"14"],
        [b"labels.csv", b"10"],
    ]
    assert lines[0][2] == b"9"
    assert len(listed(photos / "images", tmp_path).splitlines()) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda photos: (photos / "images/a.jpg").write_text("other size"),
        lambda photos: os.utime(photos / "images/a.jpg", ns=(7, 10)),
        lambda photos: (photos / "images/b/c.jpg").unlink(),
        lambda photos: (photos / "images/b").rename(photos / "images/B"),
        lambda photos: (photos / "images/d.jpg").touch(),
        lambda photos: (photos / "images/d.jpg").symlink_to("nowhere"),
        lambda photos: shutil.copytree(photos / "images/b", photos / "images/e"),
        lambda photos: (photos / "ground_truth.json").touch(),
        lambda photos: (photos / os.fsdecode(b"images/\xff.jpg")).touch(),
    ],
    ids=range(9),
)
def test_a_change_is_noticed(photos, tmp_path, change):
    before = listed(photos, tmp_path)
    assert listed(photos, tmp_path) == before
    change(photos)
    assert listed(photos, tmp_path) != before


def test_what_is_no_part_of_the_dataset_changes_nothing(photos, tmp_path):
    before = listed(photos, tmp_path)
    (photos / "notes.txt").touch()
    (photos / "images/.DS_Store").touch()
    (photos / "images/.hidden").mkdir()
    (photos / "images/.hidden/a.jpg").touch()
    (photos / "images/b/round").symlink_to(photos / "images")
    assert listed(photos, tmp_path) == before


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="none: no such folder; give a folder of images"):
        list_folder(tmp_path / "none", tmp_path / "list.tsv")
