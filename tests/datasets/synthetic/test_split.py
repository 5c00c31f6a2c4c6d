"""The rendered dataset: its tables, its files and the seeds behind them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lrcr.config.datasets import SyntheticParams
from lrcr.data.dataset import open_dataset
from lrcr.datasets.synthetic import make_synthetic
from lrcr.datasets.synthetic.render import SHAPES
from lrcr.datasets.synthetic.split import _choose_queries
from lrcr.datasets.synthetic.views import BuildingViews, StoredView
from lrcr.errors import DatasetError

from ..progress import RecordedProgress


def params(split="eval", landmarks=3, images=11, **counts):
    return SyntheticParams(kind="synthetic", split=split, landmarks=landmarks, images=images, **counts)


def render(folder, seed=5, workers=1, **counts):
    folder.mkdir(parents=True)
    make_synthetic(folder, "tiny", params(**counts), seed=seed, workers=workers)
    return open_dataset(folder)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return render(tmp_path_factory.mktemp("synthetic") / "eval", distractors=2, queries=4)


def test_the_result_does_not_depend_on_the_number_of_workers(tmp_path):
    for workers in (1, 3):
        render(tmp_path / str(workers), workers=workers, landmarks=2, images=5, distractors=1, queries=1)
    assert files(tmp_path / "1") == files(tmp_path / "3")


def test_another_seed_gives_another_dataset(tmp_path, small):
    other = render(tmp_path / "other", seed=6, landmarks=2, images=4)
    assert other.fingerprint != small.fingerprint
    path = "images/eval-0000/00.jpg"
    assert (other.root / path).read_bytes() != (small.root / path).read_bytes()


def test_splits_share_no_building_and_no_neighbourhood(monkeypatch, tmp_path):
    rendered = []

    def collect(jobs, workers):
        rendered.extend(jobs)
        return []

    monkeypatch.setattr("lrcr.datasets.synthetic.split._render_all", collect)
    for split in ("train", "val", "eval"):
        with pytest.raises(
            DatasetError, match=r"tiny: queries = 1, but only 0 images have a positive; set it to at most 0$"
        ):
            make_synthetic(tmp_path, "tiny", params(split, distractors=2, queries=1), seed=0)
    seeds = [job.seed for job in rendered]
    assert len(set(seeds)) == len(seeds) == 15
    assert len({job.neighbourhood for job in rendered}) == 3


@pytest.mark.parametrize("split", ["train", "val"])
def test_splits_of_one_seed_differ(tmp_path, small, split):
    other = render(tmp_path / split, split=split, landmarks=1, images=2)
    ours, theirs = (sorted((folder / "images").rglob("00.jpg"))[0].read_bytes() for folder in (small.root, other.root))
    assert ours != theirs


def test_the_images_table_describes_the_files(small):
    assert len(small.images) == 11
    assert small.images["label"].isna().sum() == 2
    assert small.images["label"].value_counts().tolist() == [3, 3, 3]
    stored = {str(path.relative_to(small.root)) for path in (small.root / "images").rglob("*") if path.is_file()}
    assert set(small.images["path"]) == stored
    for row in small.images.itertuples():
        with Image.open(small.root / row.path) as image:
            assert image.format == "JPEG"
            assert image.size == (row.width, row.height)
            assert image.size in SHAPES


def test_masks_have_the_size_of_their_images_and_distractors_have_none(small):
    masks = {str(path.relative_to(small.root)) for path in small.root.rglob("*.png")}
    assert set(small.images["mask"].dropna()) == masks
    assert small.images["mask"].isna().equals(small.images["label"].isna())
    for row in small.images.dropna(subset="mask").itertuples():
        assert Path(row.mask).stem == Path(row.path).stem
        with Image.open(small.root / row.mask) as mask:
            assert mask.mode == "1"
            assert mask.size == (row.width, row.height)


def test_the_fingerprint_covers_the_masks(tmp_path, monkeypatch):
    first = render(tmp_path / "first", landmarks=1, images=2)
    monkeypatch.setattr("lrcr.datasets.synthetic.render._mask", lambda frame, size: Image.new("1", size, 1))
    other = render(tmp_path / "other", landmarks=1, images=2)
    assert first.images.equals(other.images)
    assert first.fingerprint != other.fingerprint


def test_boxes_of_queries_are_the_bounds_of_their_masks(small):
    for row in small.queries.itertuples():
        with Image.open(small.root / row.path.replace("images/", "masks/").replace(".jpg", ".png")) as mask:
            assert mask.getbbox() == (row.x0, row.y0, row.x1, row.y1)
        assert min(row.x1 - row.x0, row.y1 - row.y0) >= 48


def test_the_regions_are_the_bounds_of_the_masks(small):
    assert small.regions["image"].tolist() == small.images.index[small.images["mask"].notna()].tolist()
    assert (small.regions["score"] == 1).all()
    for row in small.regions.itertuples():
        with Image.open(small.root / small.images["mask"][row.image]) as mask:
            assert mask.getbbox() == (row.x0, row.y0, row.x1, row.y1)


def test_queries_are_distributed_over_landmarks_and_name_their_own_image(small):
    labels = small.images["label"].iloc[small.queries["image"]]
    assert small.images["path"].iloc[small.queries["image"]].tolist() == small.queries["path"].tolist()
    assert labels.value_counts().tolist() == [2, 1, 1]
    assert small.queries["image"].is_unique


def building(label: str | None, qualities: str, junk: tuple[int, ...] = ()) -> BuildingViews:
    """A building whose view i is good if `qualities[i]` is "+"; the views `junk` have no positive."""
    views = tuple(
        StoredView("", 320, 240, None, {}, (0.0, 0.0, 48.0, 60.0), 0.2 if quality == "+" else 0.1, 0.9)
        for quality in qualities
    )
    grades = np.full((len(views), len(views)), "hard")
    grades[list(junk)] = "junk"
    return BuildingViews(label, views, grades)


def test_good_views_become_queries_first_one_landmark_after_the_other():
    buildings = [building("a", "+-+"), building(None, "+"), building("b", "-+"), building("c", "+++", junk=(0, 1, 2))]
    chosen = _choose_queries(buildings, 5, 0, "tiny")
    good_of_a = {(0, 0), (0, 2)}
    assert {chosen[0], chosen[2]} == good_of_a
    assert (chosen[1], set(chosen[3:])) == ((2, 1), {(0, 1), (2, 0)})
    assert _choose_queries(buildings, 2, 0, "tiny") == chosen[:2]
    with pytest.raises(
        DatasetError, match=r"tiny: queries = 6, but only 5 images have a positive; set it to at most 5$"
    ):
        _choose_queries(buildings, 6, 0, "tiny")


def test_relevance_grades_all_views_of_the_querys_landmark_and_nothing_else(small):
    for row in small.queries.itertuples():
        graded = small.relevance[small.relevance["query"] == row.query].set_index("image")["grade"]
        label = small.images["label"].iloc[row.image]
        assert set(graded.index) == set(small.images.index[small.images["label"] == label])
        assert graded[row.image] == "junk"
        assert graded.isin(["easy", "hard"]).any()


def test_train_pairs_are_symmetric_and_within_a_landmark(tmp_path):
    train = render(tmp_path / "train", split="train", landmarks=2, images=6)
    pairs = {(int(a), int(b)) for a, b in train.pairs.itertuples(index=False)}
    assert pairs
    assert pairs == {(b, a) for a, b in pairs}
    assert all(a != b and train.images["label"][a] == train.images["label"][b] for a, b in pairs)
    assert len(train.queries) == len(train.relevance) == 0


def test_only_train_has_pairs(small):
    assert len(small.pairs) == 0


def test_more_queries_than_images_with_positives_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lrcr.datasets.synthetic.views.grade", lambda query, other: "junk")
    with pytest.raises(
        DatasetError, match=r"tiny: queries = 1, but only 0 images have a positive; set it to at most 0$"
    ):
        render(tmp_path / "eval", landmarks=1, images=2, queries=1)


def test_progress_counts_buildings(tmp_path):
    progress = RecordedProgress()
    make_synthetic(tmp_path, "tiny", params(landmarks=1, images=3, distractors=1), seed=0, progress=progress, workers=1)
    assert progress.tasks == [("Rendering tiny", 2, 2)]
    assert open_dataset(tmp_path).images["label"].fillna("-").tolist() == ["eval-0000", "eval-0000", "-"]
