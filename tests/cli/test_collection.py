"""The commands that change an index."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lrcr.api import open_index
from lrcr.data.dataset import Photo
from lrcr.errors import ArtifactError
from lrcr.features.extractor import Extractor
from lrcr.features.regions import grid_boxes
from lrcr.retrieval import collection
from lrcr.retrieval.images import read_boxes
from lrcr.retrieval.queries import open_extractor
from lrcr.retrieval.searcher import Searcher
from lrcr.retrieval.writer import open_writer

from .command import NO_INDEX, SMALL, TRUNK, lrcr, refuse, run, sets


@pytest.fixture(scope="module")
def part(photos, tmp_path_factory) -> Path:
    """An index of three of the four landmarks, with the model and the codebook of the index of all."""
    folder = tmp_path_factory.mktemp("part")
    shutil.copytree(photos, folder / "photos")
    shutil.rmtree(folder / "photos/images/3")
    table = (folder / "photos/labels.csv").read_text().splitlines()
    (folder / "photos/labels.csv").write_text("\n".join(line for line in table if not line.startswith("3/")))
    lrcr("index", folder / "photos", "-o", folder / "my.index", "--codebook-photos", photos, *SMALL)
    return folder


@pytest.fixture
def mine(part, photos, tmp_path) -> Path:
    """A copy of this index; its photos are in `photos` below it."""
    shutil.copytree(part / "photos", tmp_path / "photos")
    shutil.copytree(part / "my.index", tmp_path / "my.index")
    told(tmp_path / "my.index", "update", "--photos", tmp_path / "photos")
    return tmp_path


def told(index: Path, command: str, *arguments: object) -> str:
    """What a command says of the index that it changes."""
    code, out, err = run(command, index, *arguments)
    assert (code, out) == (0, ""), out + err
    return err.splitlines()[-1].removeprefix(f"{index}: ")


def delete(photos: Path, name: str) -> None:
    """Delete a photo and its label."""
    (photos / "images" / name).unlink()
    lines = (photos / "labels.csv").read_text().splitlines()
    (photos / "labels.csv").write_text("\n".join(line for line in lines if not line.startswith(f"{name},")))


def names(index: Path) -> list[str]:
    return Searcher(index).images["name"].tolist()


def assert_same(index: Path, expected: Path, query: Path) -> None:
    """Two indexes rank their images alike, with the same scores to the last bit."""
    searchers = [Searcher(folder) for folder in (index, expected)]
    described = open_extractor(searchers[1]).describe([Photo(query, orient=True)])
    one, other = (searcher.search(described) for searcher in searchers)
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.score, other.score)
    tables = [searcher.images[["name", "label", "width", "height", "sha256"]] for searcher in searchers]
    assert tables[0].equals(tables[1])


def test_an_index_brought_to_the_state_of_a_folder_is_that_of_the_folder(mine, photos, index):
    folder, own = mine / "my.index", mine / "photos"
    shutil.copytree(photos / "images/3", own / "images/3")
    shutil.copy(photos / "labels.csv", own)
    (own / "images/0/0.png").rename(own / "images/z.png")
    shutil.copy(photos / "images/1/0.png", own / "images/2/0.png")
    (own / "labels.csv").write_text((photos / "labels.csv").read_text().replace("0/0.png", "z.png"))
    assert told(folder, "sync", own) == "4 added, 1 described again, 1 removed; 12 images"
    assert "0/0.png" not in names(folder) and names(folder)[-1] == "z.png"
    shutil.rmtree(own / "images")
    shutil.copytree(photos / "images", own / "images")
    shutil.copy(photos / "labels.csv", own)
    assert told(folder, "sync", own) == "1 added, 1 described again, 1 removed; 12 images"
    assert_same(folder, index, photos / "images/2/1.png")
    assert told(folder, "sync", own) == "0 added, 0 described again, 0 removed; 12 images"
    assert lrcr("verify", folder) == f"{folder}: 12 images, all files are intact\n"
    told(folder, "compact")
    assert_same(folder, index, photos / "images/0/1.png")


TINY = sets("extract.image_size=48", "extract.scales=[1.0]", "extract.max_descriptors=20", "codebook.words=16")
REGIONS = [*TRUNK, *TINY, *sets("model.name=delf", "whitening.dim=32", "extract.regions=grid")]


def test_what_is_added_has_regions_as_the_other_images(photos, tmp_path):
    folder, whole = tmp_path / "my.index", tmp_path / "whole.index"
    lrcr("index", photos, "-o", whole, *REGIONS)
    shutil.copytree(photos, tmp_path / "photos")
    delete(tmp_path / "photos", "0/1.png")
    delete(tmp_path / "photos", "3/2.png")
    lrcr("index", tmp_path / "photos", "-o", folder, "--codebook-photos", photos, *REGIONS)
    shutil.copytree(photos, tmp_path / "photos", dirs_exist_ok=True)
    assert told(folder, "sync", tmp_path / "photos") == "2 added, 0 described again, 0 removed; 12 images"
    assert_same(folder, whole, photos / "images/3/2.png")
    found, expected = (list(map(read_boxes, Searcher(each).images["regions"])) for each in (folder, whole))
    assert found == expected == [grid_boxes(96, 80)] * 12
    merged = tmp_path / "merged.index"
    lrcr("merge", folder, whole, "-o", merged, "--prefix", "b/")
    hit = open_index(merged).search(photos / "images/0/1.png", top=24)[-1]
    assert hit.regions == grid_boxes(96, 80)


def test_what_is_added_to_an_index_of_delg_has_a_vector(photos, tmp_path):
    delg = [*TRUNK, *TINY[:6], *sets("model.name=delg", "backbone.skip_layers=2", "pooling.projection=24")]
    shutil.copytree(photos, tmp_path / "photos")
    delete(tmp_path / "photos", "0/1.png")
    lrcr("index", tmp_path / "photos", "-o", tmp_path / "my.index", "--codebook-photos", photos, *delg)
    lrcr("index", photos, "-o", tmp_path / "whole.index", *delg)
    shutil.copy(photos / "images/0/1.png", tmp_path / "photos/images/0")
    told(tmp_path / "my.index", "add", tmp_path / "photos")
    indexes = [open_index(tmp_path / name) for name in ("my.index", "whole.index")]
    hits = [index.search(photos / "images/0/1.png", top=12) for index in indexes]
    assert [hit.image for hit in hits[0]] == [hit.image for hit in hits[1]]
    np.testing.assert_allclose([hit.score for hit in hits[0]], [hit.score for hit in hits[1]], rtol=1e-5)


def test_detected_regions_are_not_added_in_one_line(photos, tmp_path):
    own, folder = tmp_path / "photos", tmp_path / "my.index"
    shutil.copytree(photos, own)
    (own / "regions.csv").write_text("image,x0,y0,x1,y1,score\n0/0.png,10,10,90,70,0.9\n")
    lrcr("index", own, "-o", folder, *REGIONS, *sets("extract.regions=detected"))
    assert Searcher(folder).images["regions"].map(read_boxes).tolist() == [((10, 10, 90, 70),), *[()] * 11]
    shutil.copy(own / "images/0/0.png", tmp_path / "new.png")
    said = f"{folder}: images with detected regions can be removed, but not described here; index again"
    assert refuse("add", folder, tmp_path / "new.png") == said
    assert told(folder, "remove", "0/1.png") == "0 added, 0 described again, 1 removed; 11 images"
    told(folder, "compact")
    assert Searcher(folder).images["regions"].map(read_boxes).tolist() == [((10, 10, 90, 70),), *[()] * 10]


def test_only_what_is_new_is_added(mine, photos, draw_photo):
    folder = mine / "my.index"
    draw_photo(mine / "other/a.png", 7, 0)
    draw_photo(mine / "more/b.png", 7, 1)
    assert told(folder, "add", mine / "photos") == "0 added, 0 described again, 0 removed; 9 images"
    said = told(folder, "add", mine / "other", mine / "more/b.png", mine / "photos/images/0/1.png")
    assert said == "2 added, 0 described again, 0 removed; 11 images"
    found = json.loads(lrcr("search", folder, mine / "other/a.png", "--json", "--top", 2))
    assert [Path(one["path"]) for one in found] == [mine / "other/a.png", mine / "more/b.png"]
    assert (
        told(folder, "add", "--prefix", "again/", mine / "other") == "1 added, 0 described again, 0 removed; 12 images"
    )
    assert "again/a.png" in names(folder)
    assert told(folder, "update") == "0 added, 0 described again, 0 removed; 12 images"
    draw_photo(mine / "other/a.png", 7, 3)
    assert told(folder, "update") == "0 added, 2 described again, 0 removed; 12 images"


def test_a_changed_photo_is_described_again_under_its_name_and_id(mine, photos, draw_photo):
    folder, file = mine / "my.index", mine / "photos/images/1/1.png"
    before = Searcher(folder).images.set_index("name")
    draw_photo(file, 9, 0)
    delete(mine / "photos", "0/0.png")
    line = refuse("add", folder, mine / "photos")
    assert line.startswith(f"{folder}: has another image '1/1.png'; use `lrcr update` if the photo was changed")
    assert told(folder, "update") == "0 added, 1 described again, 0 removed; 9 images"
    after = Searcher(folder).images.set_index("name")
    assert after["image"].to_dict() == before["image"].to_dict()
    assert after["label"].to_dict() == before["label"].to_dict()
    found = json.loads(lrcr("search", folder, file, "--json", "--top", 1))
    assert (found[0]["image"], found[0]["label"]) == ("1/1.png", "landmark-1")
    assert told(folder, "update") == "0 added, 0 described again, 0 removed; 9 images"


def test_a_removed_image_is_not_found(mine, photos):
    folder = mine / "my.index"
    assert told(folder, "remove", "0/0.png", "2/1.png", "0/0.png") == "0 added, 0 described again, 2 removed; 7 images"
    found = json.loads(lrcr("search", folder, photos / "images/0/0.png", "--json", "--top", 99))
    assert len(found) == 7 and not {"0/0.png", "2/1.png"} & {one["image"] for one in found}
    said = f"{folder}: has no image '0/0.png'; did you mean '2/0.png'? `lrcr inspect {folder} --images` lists all"
    assert refuse("remove", folder, "0/0.png") == said
    assert (mine / "photos/images/0/0.png").exists()
    assert told(folder, "compact").startswith("7 images, ")
    assert told(folder, "add", mine / "photos") == "2 added, 0 described again, 0 removed; 9 images"


def test_merged_indexes_keep_their_folders(mine, photos, index):
    merged, folder = mine / "all.index", mine / "my.index"
    assert told(folder, "remove", "0/1.png").endswith("8 images")
    _, _, err = run("merge", folder, index, "-o", merged)
    assert err.splitlines()[-1] == f"{merged}: {Searcher(merged).index.summary}"
    table = Searcher(merged).images.set_index("name")
    assert len(table) == 12 and table["image"].is_unique
    assert table["path"]["0/0.png"] == str(mine / "photos/images/0/0.png")
    assert table["path"]["0/1.png"] == str(photos / "images/0/1.png")
    assert_same(merged, index, photos / "images/2/1.png")
    lrcr("merge", folder, index, "-o", mine / "both.index", "--prefix", "b/")
    assert len(names(mine / "both.index")) == 20 and "b/0/1.png" in names(mine / "both.index")
    assert refuse("merge", folder, index, "-o", merged) == f"--output {merged}: exists; name another folder"
    assert refuse("merge", folder, folder, "-o", mine / "new.index") == f"{folder}: is the same index; name two"
    line = refuse("sync", merged, mine)
    assert (
        line == f"{merged}: its photos lie in {mine / 'photos/images'}, {photos / 'images'}; name one of these folders"
    )
    delete(mine / "photos", "0/0.png")
    assert told(merged, "sync", mine / "photos") == "0 added, 0 described again, 1 removed; 11 images"


def test_a_folder_under_two_prefixes_is_followed_under_both(mine, draw_photo):
    folder, own = mine / "my.index", mine / "photos/images"
    told(folder, "add", mine / "photos", "--prefix", "x/")
    draw_photo(own / "1/1.png", 9, 0)
    draw_photo(own / "new.png", 9, 1)
    delete(mine / "photos", "0/0.png")
    assert told(folder, "sync", mine / "photos") == "2 added, 2 described again, 2 removed; 18 images"
    table = Searcher(folder).images.set_index("name")
    assert table["sha256"]["1/1.png"] == table["sha256"]["x/1/1.png"]
    assert {"new.png", "x/new.png"} < set(table.index) and not {"0/0.png", "x/0/0.png"} & set(table.index)
    assert told(folder, "sync", mine / "photos") == "0 added, 0 described again, 0 removed; 18 images"


def test_a_folder_whose_images_were_removed_is_forgotten(mine, draw_photo):
    folder, other = mine / "my.index", mine / "other"
    draw_photo(other / "a.png", 7, 0)
    told(folder, "add", other)
    told(folder, "remove", "a.png")
    shutil.rmtree(other)
    assert told(folder, "update") == "0 added, 0 described again, 0 removed; 9 images"
    (mine / "photos").rename(mine / "now")
    assert told(folder, "sync", mine / "now") == "0 added, 0 described again, 0 removed; 9 images"
    told(folder, "remove", *names(folder))
    assert Searcher(folder).roots == [] and told(folder, "update").endswith("; 0 images")
    assert told(folder, "sync", mine / "now") == "9 added, 0 described again, 0 removed; 9 images"


def test_a_subfolder_is_added_under_the_names_of_its_folder(mine, photos, draw_photo, monkeypatch):
    folder = mine / "my.index"
    draw_photo(mine / "photos/images/1/new.png", 7, 0)
    assert told(folder, "add", mine / "photos/images/1") == "1 added, 0 described again, 0 removed; 10 images"
    assert names(folder)[3:7] == ["1/0.png", "1/1.png", "1/2.png", "1/new.png"]
    monkeypatch.chdir(mine / "photos/images")
    draw_photo(mine / "other/b.png", 7, 1)
    told(folder, "add", Path("../../other/b.png"))
    assert Searcher(folder).images.set_index("name")["path"]["b.png"] == str(mine / "other/b.png")


def test_a_folder_above_one_of_the_index_gives_no_photo_a_second_name(mine, draw_photo, caplog):
    folder, own = mine / "my.index", mine / "photos/images"
    draw_photo(mine / "other/a.png", 7, 0)
    draw_photo(own / "1/new.png", 7, 1)
    before = names(folder)
    assert told(folder, "add", mine) == "1 added, 0 described again, 0 removed; 10 images"
    said = f"{mine}: 10 photos in {own} left out; name that folder of the index to bring in new ones"
    assert [record.getMessage() for record in caplog.records] == [said]
    assert names(folder) == [*before, "other/a.png"]
    assert told(folder, "sync", mine) == "0 added, 0 described again, 0 removed; 10 images"
    assert told(folder, "add", own) == "1 added, 0 described again, 0 removed; 11 images"
    assert told(folder, "add", mine, "--prefix", "x/") == "11 added, 0 described again, 0 removed; 22 images"


def test_merging_what_is_known_stores_nothing(mine, index):
    lrcr("merge", index, mine / "my.index", "-o", mine / "all.index")
    segments = [Searcher(each).index.manifest.facts["segments"] for each in (index, mine / "all.index")]
    assert segments[0] == segments[1]


def test_indexes_with_other_codebooks_are_not_merged(mine, global_index):
    line = refuse("merge", mine / "my.index", global_index, "-o", mine / "all.index")
    assert line.endswith(f"is not that of {mine / 'my.index'}; build it with the same model and codebook")
    assert not (mine / "all.index").exists()


def test_truncated_photos_are_taken_if_asked_for(mine, photos, caplog):
    folder, file = mine / "my.index", mine / "photos/images/0/cut.jpg"
    with Image.open(photos / "images/0/0.png") as photo:
        photo.save(file, quality=95)
    file.write_bytes(file.read_bytes()[:-300])
    said = refuse("add", folder, file)
    assert "cut.jpg: cannot be read (image file is truncated" in said
    assert said.endswith("); copy it again, or accept it with --tolerate-truncated")
    assert told(folder, "sync", mine / "photos") == "0 added, 0 described again, 0 removed; 9 images"
    assert told(folder, "add", file, "--tolerate-truncated") == "1 added, 0 described again, 0 removed; 10 images"
    assert "1 truncated file accepted; the first: '0/cut.jpg'" in caplog.text
    assert told(folder, "sync", mine / "photos") == "0 added, 0 described again, 0 removed; 10 images"
    file.write_bytes(file.read_bytes()[:-1])
    assert told(folder, "update") == "0 added, 0 described again, 0 removed; 10 images"
    assert told(folder, "update", "--tolerate-truncated") == "0 added, 1 described again, 0 removed; 10 images"
    file.write_bytes(file.read_bytes()[:-1])
    assert told(folder, "sync", mine / "photos", "--tolerate-truncated").startswith("0 added, 1 described again")


def test_photos_that_were_moved_are_found_where_they_are_now(mine):
    folder, query = mine / "my.index", mine / "now/images/0/0.png"
    (mine / "photos").rename(mine / "now")
    assert refuse("update", folder).startswith(f"{mine / 'photos/images'}: no such folder; name the one where the")
    found = json.loads(lrcr("search", folder, query, "--photos", mine / "now", "--json", "--top", 3))
    assert {Path(one["path"]) for one in found} <= set((mine / "now/images").rglob("*.png"))
    assert told(folder, "update", "--photos", mine / "now").startswith("0 added, 0 described again")
    assert json.loads(lrcr("search", folder, query, "--json", "--top", 3)) == found


def test_symbolic_links_keep_the_names_they_have_in_the_folder(mine, photos, draw_photo):
    draw_photo(mine / "elsewhere/real.png", 8, 0)
    (mine / "photos/images/linked").symlink_to(mine / "elsewhere")
    (mine / "photos/images/0/link.png").symlink_to(mine / "elsewhere/real.png")
    told(mine / "my.index", "sync", mine / "photos")
    assert {"linked/real.png", "0/link.png"} <= set(names(mine / "my.index"))
    told(mine / "my.index", "add", mine / "photos/images/0/link.png")
    assert Searcher(mine / "my.index").images["path"].tolist()[3] == str(mine / "photos/images/0/link.png")
    (mine / "shortcut").symlink_to(mine / "photos/images")
    for name in ("photos/images/linked/real.png", "shortcut/linked/real.png"):
        assert told(mine / "my.index", "add", mine / name) == "0 added, 0 described again, 0 removed; 11 images"


def test_a_second_writer_is_told_so_in_one_line(mine, photos):
    folder = mine / "my.index"
    said = f"{folder}: another process is changing it; try again when that has ended"
    with open_writer(folder):
        assert refuse("remove", folder, "0/0.png") == said
        assert refuse("add", folder, photos) == said
        assert refuse("compact", folder) == said
        assert refuse("merge", folder, folder, "-o", mine / "new.index") != said
        assert len(json.loads(lrcr("search", folder, photos / "images/0/0.png", "--json", "--top", 99))) == 9


def test_two_indexes_share_no_unfinished_work(mine, photos, monkeypatch):
    indexes = mine / "my.index", shutil.copytree(mine / "my.index", mine / "other.index")

    def fail(*_, **__):
        raise ArtifactError("disk full")

    monkeypatch.setenv("LRCR_STATE", str(mine / "state"))
    monkeypatch.setattr(collection, "extractor_of", lambda *_: None)
    monkeypatch.setattr(collection, "encode_photos", fail)
    for folder in indexes:
        assert refuse("add", folder, photos / "images/3/0.png") == "disk full"
    assert len(list((mine / "state").iterdir())) == 2


def test_a_commit_that_fails_loses_no_description(mine, photos, draw_photo, monkeypatch):
    def fail(*_):
        raise ArtifactError("disk full")

    draw_photo(mine / "new.png", 9, 0)
    with monkeypatch.context() as patched:
        patched.setattr("lrcr.retrieval.writer.write_manifest", fail)
        assert refuse("add", mine / "my.index", mine / "new.png") == "disk full"
    monkeypatch.setattr(Extractor, "describe", lambda *_: pytest.fail("it describes again"))
    lrcr("add", mine / "my.index", mine / "new.png")
    assert "new.png" in set(Searcher(mine / "my.index").images["name"])


def test_bad_photos_are_one_line_and_change_nothing(mine):
    folder = mine / "my.index"
    before = {file: file.read_bytes() for file in folder.rglob("*.npy")}
    (mine / "broken.jpg").write_bytes(b"text")
    assert refuse("add", folder, mine / "none").endswith("none: no such file or folder; name photos")
    assert "broken.jpg: " in refuse("add", folder, mine / "broken.jpg")
    assert refuse("sync", folder, mine / "none").endswith("none: no such folder; give a folder of images")
    assert refuse("add", mine, mine / "photos").endswith(f"manifest.json: no such file; {NO_INDEX}")
    assert {file: file.read_bytes() for file in folder.rglob("*.npy")} == before
