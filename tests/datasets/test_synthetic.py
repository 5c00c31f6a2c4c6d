"""The embedded dataset: geometry against slow oracles, the grade rule by hand, and the contract of its tables."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lrcr.config.datasets import SyntheticParams
from lrcr.data.dataset import open_dataset
from lrcr.datasets.synthetic import make_synthetic
from lrcr.datasets.synthetic.camera import Camera, look_at, sample_camera
from lrcr.datasets.synthetic.canvas import Canvas
from lrcr.datasets.synthetic.frame import Frame, local_scale
from lrcr.datasets.synthetic.grading import Sight, grade, look, overlap, scale_ratio, surface_points
from lrcr.datasets.synthetic.landmark import Landmark, Plane, build_landmark
from lrcr.datasets.synthetic.light import illuminate, sample_light
from lrcr.errors import DatasetError

SIZE = (240, 180)
X, Y, Z = np.eye(3)


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


def board(left, bottom, width, height, z):
    """A blank plane that faces the street."""
    canvas = Canvas(0.0, 0.0, width, height, 10.0, (180, 180, 180))
    canvas.rectangle(0.0, 0.0, width, height, (180, 180, 180))
    return Plane(canvas.texture(), np.array([left, bottom, z]), X, Y)


def camera_at(position, target, focal=200.0, centre=(120.0, 90.0)):
    position, target = np.array(position, float), np.array(target, float)
    yaw = float(np.arctan2(position[0], position[2]))
    return Camera(position, look_at(position, target, 0.0), focal, centre, SIZE, yaw)


def shown(planes, camera):
    """What `look` says of some planes: visible and scale, of shape (P,), and the points in space, of shape (P, 3)."""
    landmark = Landmark(tuple(planes), np.array([-5.0, 0, 0]), np.array([5.0, 10, 0]))
    points = surface_points(landmark)
    frame = Frame(camera, sample_light(True, np.random.default_rng(0)), 0.0, 20.0, Image.new("RGB", SIZE))
    for number, plane in enumerate(planes):
        frame.paste_plane(plane, number + 1)
    visible, scale = look(landmark, points, camera, frame.owner, 1.0)
    space = [p.origin + a[:, :1] * p.across + a[:, 1:] * p.up for p, a in zip(planes, points, strict=True)]
    return visible, scale, np.concatenate(space)


def sight(visible, scale=20.0, degrees=0.0, clarity=0.9, night=False):
    direction = np.array([np.sin(np.deg2rad(degrees)), 0.0, np.cos(np.deg2rad(degrees))])
    visible = np.asarray(visible, bool)
    return Sight(visible, np.full(visible.shape, scale, np.float32), direction, clarity, night)


def test_homography_agrees_with_the_projection_of_points_in_space():
    plane = Plane(board(0, 0, 4, 3, 0).texture, np.array([1.0, 2.0, -3.0]), Z, Y)
    camera = camera_at((7, 2, 18), (0, 4, 0))
    places = np.array([[0.0, 0.0], [4.0, 0.0], [1.3, 2.7]])
    homogeneous = np.column_stack([places, np.ones(3)]) @ camera.homography(plane).T
    pixels, depth = camera.project(plane.origin + places[:, :1] * plane.across + places[:, 1:] * plane.up)
    np.testing.assert_allclose(homogeneous[:, :2] / homogeneous[:, 2:], pixels, rtol=1e-9)
    np.testing.assert_allclose(homogeneous[:, 2], depth, rtol=1e-9)


def test_local_scale_is_the_root_of_a_small_squares_area():
    camera, plane = camera_at((9, 3, 14), (0, 4, 0)), board(-5, 0, 10, 8, 0)
    step, place = 1e-4, np.array([2.0, 6.0])
    corners = plane.origin[:2] + place + step * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    x, y = camera.project(np.column_stack([corners, np.zeros(4)]))[0].T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert local_scale(camera.homography(plane), place[None])[0] == pytest.approx(np.sqrt(area) / step, rel=1e-3)


def test_visible_points_agree_with_rays_that_look_for_what_is_in_between():
    wall, screen = board(-5, 0, 10, 8, 0), board(-2, 0, 2.5, 5, 3)
    camera = camera_at((6, 2, 16), (0, 3, 0))
    visible, _, space = shown([wall, screen], camera)
    pixels, _ = camera.project(space)
    inside = ((pixels > 0) & (pixels < np.array(SIZE))).all(axis=1)
    share = (3 - space[:, 2]) / (camera.position[2] - space[:, 2])
    crossing = space + share[:, None] * (camera.position - space)
    behind = (space[:, 2] < 3) & (np.abs(crossing[:, 0] + 0.75) < 1.25) & (crossing[:, 1] > 0) & (crossing[:, 1] < 5)
    expected = inside & ~behind
    assert behind.sum() > 20
    assert (visible == expected).mean() > 0.97  # a pixel at the screen's rim belongs to one side only


def test_the_nearer_plane_wins_in_whatever_order_they_are_drawn():
    wall, screen, camera = board(-5, 0, 10, 8, 0), board(-2, 0, 2.5, 5, 3), camera_at((0, 2, 16), (0, 3, 0))
    owners = []
    for order in ([(wall, 1), (screen, 2)], [(screen, 2), (wall, 1)]):
        frame = Frame(camera, sample_light(True, np.random.default_rng(0)), 0.0, 20.0, Image.new("RGB", SIZE))
        for plane, owner in order:
            frame.paste_plane(plane, owner)
        owners.append(frame.owner)
    np.testing.assert_array_equal(*owners)
    assert set(np.unique(owners[0])) == {0, 1, 2}


def test_overlap_is_one_for_the_same_view_and_zero_for_opposite_halves():
    wall = board(-5, 0, 10, 8, 0)
    left = camera_at((0, 4, 14), (0, 4, 0), focal=600.0, centre=(390.0, 90.0))
    right = camera_at((0, 4, 14), (0, 4, 0), focal=600.0, centre=(-150.0, 90.0))
    views = [sight(shown([wall], camera)[0]) for camera in (left, right)]
    assert all(view.visible.any() and not view.visible.all() for view in views)
    assert overlap(views[0], views[0]) == 1.0
    assert overlap(views[0], views[1]) == 0.0


def test_a_wall_seen_from_behind_or_far_too_small_is_not_visible():
    wall = board(-5, 0, 10, 8, 0)
    assert not shown([wall], camera_at((0, 4, -14), (0, 4, 0)))[0].any()
    assert shown([wall], camera_at((0, 4, 14), (0, 4, 0)))[0].any()
    assert not shown([wall], camera_at((0, 4, 14), (0, 4, 0), focal=40.0))[0].any()


FULL, HALF, TENTH = np.arange(100) < 100, np.arange(100) < 50, np.arange(100) < 10


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (sight(FULL), "easy"),
        (sight(HALF), "hard"),
        (sight(TENTH), "junk"),
        (sight(~FULL), "junk"),
        (sight(FULL, degrees=27), "easy"),
        (sight(FULL, degrees=-29), "hard"),
        (sight(FULL, scale=38), "easy"),
        (sight(FULL, scale=9), "hard"),
        (sight(FULL, scale=80), "junk"),
        (sight(FULL, night=True), "hard"),
        (sight(FULL, clarity=0.4), "hard"),
        (sight(FULL, clarity=0.1), "junk"),
    ],
)
def test_grade(other, expected):
    assert grade(sight(FULL), other) == expected


def test_a_detail_finds_the_whole_but_the_whole_barely_finds_the_detail():
    whole, detail = sight(FULL), sight(TENTH, scale=30)
    assert (grade(detail, whole), grade(whole, detail)) == ("easy", "junk")
    assert scale_ratio(detail, whole) == pytest.approx(1.5)


def test_a_raised_block_casts_its_shadow_away_from_the_sun():
    canvas = Canvas(0.0, 0.0, 8.0, 8.0, 20.0, (200, 200, 200))
    canvas.rectangle(0.0, 0.0, 8.0, 8.0, (200, 200, 200))
    canvas.rectangle(3.5, 2.0, 1.0, 4.0, (200, 200, 200), relief=1.0)
    plane = Plane(canvas.texture(), np.zeros(3), X, Y)
    sun = np.array([1.0, 0.0, 1.0]) / np.sqrt(2)
    light = replace(
        sample_light(True, np.random.default_rng(0)), direction=sun, shadow=None, sun=np.full(3, 0.5, np.float32)
    )
    row = illuminate(plane.texture.at(1000), plane, light)[80, :, 0].astype(int)
    lit_side, shaded_side, far = row[int(4.9 * 20)], row[int(3.1 * 20)], row[20]
    assert shaded_side < lit_side - 15
    assert abs(far - row[-20]) <= 2
    away = illuminate(plane.texture.at(1000), replace(plane, across=-X), light)[80, 20, 0]
    assert away < far - 15


def test_safe_views_hold_the_whole_landmark():
    landmark, rng = build_landmark(3, 120), np.random.default_rng(0)
    for _ in range(20):
        camera = sample_camera(landmark, SIZE, True, rng)
        x, y, z = landmark.low[0], landmark.high[0], landmark.high[2]
        corners = np.array([[x, 0, z], [y, 0, z], [x, landmark.high[1], z], [y, landmark.high[1], z]])
        pixels, depth = camera.project(corners)
        assert (depth > 0).all()
        assert (pixels > -1e-6).all() and (pixels < np.array(SIZE) + 1e-6).all()


def test_landmarks_are_decided_by_their_seed():
    first, again, other = (build_landmark(seed, 120) for seed in (1, 1, 2))
    same = [
        np.array_equal(a.texture.at(1e3).colour, b.texture.at(1e3).colour)
        for a, b in zip(first.planes, again.planes, strict=True)
    ]
    assert all(same)
    assert first.planes[1].texture.at(1e3).colour.shape != other.planes[1].texture.at(1e3).colour.shape


def test_the_result_does_not_depend_on_the_number_of_workers(tmp_path):
    for workers in (1, 3):
        render(tmp_path / str(workers), workers=workers, landmarks=2, images=5, distractors=1, queries=1)
    assert files(tmp_path / "1") == files(tmp_path / "3")


def test_another_seed_makes_another_dataset(tmp_path, small):
    other = render(tmp_path / "other", seed=6, landmarks=2, images=4)
    assert other.fingerprint != small.fingerprint
    path = "images/eval-0000/00.jpg"
    assert (other.root / path).read_bytes() != (small.root / path).read_bytes()


def test_splits_share_no_building_and_no_neighbourhood(monkeypatch, tmp_path):
    work = []

    def keep(assignments, workers):
        work.extend(assignments)
        return []

    monkeypatch.setattr("lrcr.datasets.synthetic.split._shoot_all", keep)
    for split in ("train", "val", "eval"):
        with pytest.raises(DatasetError, match="only 0 images"):
            make_synthetic(tmp_path, "tiny", params(split, distractors=2, queries=1), seed=0)
    seeds = [assignment.seed for assignment in work]
    assert len(set(seeds)) == len(seeds) == 15
    assert len({assignment.clutter for assignment in work}) == 3


@pytest.mark.parametrize("split", ["train", "val"])
def test_splits_differ_under_one_seed(tmp_path, small, split):
    other = render(tmp_path / split, split=split, landmarks=1, images=2)
    ours, theirs = (sorted((folder / "images").rglob("00.jpg"))[0].read_bytes() for folder in (small.root, other.root))
    assert ours != theirs


def test_images_table_tells_what_lies_on_disk(small):
    assert len(small.images) == 11
    assert small.images["label"].isna().sum() == 2
    assert small.images["label"].value_counts().tolist() == [3, 3, 3]
    for row in small.images.itertuples():
        with Image.open(small.root / row.path) as image:
            assert image.size == (row.width, row.height)
            assert 256 <= max(image.size) <= 320


def test_masks_fit_their_images_and_distractors_have_none(small):
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


def test_boxes_are_drawn_around_the_masks(small):
    for row in small.queries.itertuples():
        with Image.open(small.root / row.path.replace("images/", "masks/").replace(".jpg", ".png")) as mask:
            assert mask.getbbox() == (row.x0, row.y0, row.x1, row.y1)
            assert np.asarray(mask).sum() > 500


def test_queries_are_spread_and_name_their_own_image(small):
    labels = small.images["label"].iloc[small.queries["image"]]
    assert small.images["path"].iloc[small.queries["image"]].tolist() == small.queries["path"].tolist()
    assert labels.nunique() == 3
    assert small.queries["image"].is_unique


def test_relevance_grades_all_views_of_the_querys_landmark_and_nothing_else(small):
    for row in small.queries.itertuples():
        graded = small.relevance[small.relevance["query"] == row.query].set_index("image")["grade"]
        label = small.images["label"].iloc[row.image]
        assert set(graded.index) == set(small.images.index[small.images["label"] == label])
        assert graded[row.image] == "junk"
        assert graded.isin(["easy", "hard"]).any()


def test_train_pairs_go_both_ways_within_a_landmark(tmp_path):
    train = render(tmp_path / "train", split="train", landmarks=2, images=6)
    pairs = {(int(a), int(b)) for a, b in train.pairs.itertuples(index=False)}
    assert pairs
    assert pairs == {(b, a) for a, b in pairs}
    assert all(a != b and train.images["label"][a] == train.images["label"][b] for a, b in pairs)
    assert len(train.queries) == len(train.relevance) == 0


def test_only_train_has_pairs(small):
    assert len(small.pairs) == 0


def test_more_queries_than_images_with_positives_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lrcr.datasets.synthetic.shoot.grade", lambda query, other: "junk")
    with pytest.raises(DatasetError, match=r"tiny: queries = 1, but only 0 images have a positive; ask for fewer"):
        render(tmp_path / "eval", landmarks=1, images=2, queries=1)


def test_progress_counts_buildings(tmp_path):
    seen = []

    def progress.over(items, description, total=None):
        seen.append((description, total))
        return items

    make_synthetic(tmp_path, "tiny", params(landmarks=1, images=3, distractors=1), seed=0, progress=progress, workers=1)
    assert seen == [("Rendering tiny", 2)]
    assert isinstance(open_dataset(tmp_path).images, pd.DataFrame)
