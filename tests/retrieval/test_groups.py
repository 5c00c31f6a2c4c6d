"""Groups of an index of drawn photos: three views of each of five landmarks, and one photo without a label."""

import numpy as np
import pandas as pd
import pytest

from lrcr.errors import ParamsError
from lrcr.features.store import Descriptors, join
from lrcr.retrieval.groups import COLUMNS, count_inliers, find_groups
from lrcr.retrieval.local import open_local, write_local
from lrcr.retrieval.local_encoder import LocalEncoder
from lrcr.retrieval.neighbours import Pairs, find_neighbours, mutual_pairs
from lrcr.retrieval.searcher import Searcher


def slowly(searcher: Searcher, least: float, neighbours: int) -> list[set[str]]:
    """Sets of names that grow together along the mutual pairs, the largest first."""
    ranking = find_neighbours(searcher.index, neighbours)
    near = {query: dict(zip(*ranking.of_query(query), strict=True)) for query in range(searcher.index.images)}
    groups = [{image} for image in near]
    for one in near:
        for other, score in near[one].items():
            if one in near[other] and score >= least:
                together = next(group for group in groups if one in group) | next(g for g in groups if other in g)
                groups = [group for group in groups if not group & together] + [together]
    names = searcher.images["name"]
    return sorted(({names[i] for i in group} for group in groups if len(group) > 1), key=lambda g: (-len(g), min(g)))


@pytest.mark.parametrize("kind", ["words", "gem"])
@pytest.mark.parametrize(("share", "neighbours"), [(0.3, 3), (0.6, 2), (0.9, 15)])
def test_groups_are_what_mutual_pairs_connect(request, kind, share, neighbours):
    searcher = Searcher(request.getfixturevalue(kind) / "index")
    scores = find_neighbours(searcher.index, neighbours).score
    least = float(np.quantile(scores, share)) + 1e-4
    table = find_groups(searcher, "cluster", min_score=least, neighbours=neighbours)
    found = [set(images) for _, images in table.groupby("group")["image"]]
    assert sorted(found, key=lambda g: (-len(g), min(g))) == slowly(searcher, least, neighbours)
    assert tuple(table.columns) == COLUMNS and table["group"].is_monotonic_increasing
    sizes = table.groupby("group").size()
    assert sizes.is_monotonic_decreasing and sizes.index.tolist() == list(range(1, len(sizes) + 1))
    assert (table["score"] >= least).all() and (table["inliers"] == 0).all()


def test_nothing_is_similar_enough(words):
    table = find_groups(Searcher(words / "index"), "duplicates", min_score=1.5)
    assert table.empty and tuple(table.columns) == COLUMNS


def test_the_image_with_the_most_pixels_comes_first(words):
    searcher = Searcher(words / "index")
    rows = searcher.images.assign(width=np.arange(16) + 10, height=20)
    searcher.__dict__["images"] = rows
    table = find_groups(searcher, "cluster", min_score=0.0, neighbours=15)
    for _, group in table.groupby("group"):
        assert group["width"].is_monotonic_decreasing
    assert len(table) > 3


def test_the_defaults_differ_by_task_and_kind_of_index(words, gem):
    for made in (words, gem):
        searcher = Searcher(made / "index")
        few, many = (find_groups(searcher, kind)["score"] for kind in ("duplicates", "cluster"))
        assert len(few) <= len(many)
        pairs = mutual_pairs(find_neighbours(searcher.index, 50), 16, 50)
        for kind, found in (("duplicates", few), ("cluster", many)):
            from lrcr.retrieval.groups import _MIN_SCORES

            least = _MIN_SCORES[kind][0 if searcher.index.explains else 1]
            assert len(found) == len(set(pairs.one[pairs.score >= least]) | set(pairs.other[pairs.score >= least]))


def test_settings_that_mean_nothing_are_refused(words):
    searcher = Searcher(words / "index")
    with pytest.raises(ParamsError, match=r"^neighbours: 0 is below 1; compare with at least one image$"):
        find_groups(searcher, "cluster", neighbours=0)
    said = r"^min_inliers: .*index owns no local descriptors; build it with index\.local_descriptors: float16 or codes$"
    with pytest.raises(ParamsError, match=said):
        find_groups(searcher, "cluster", min_inliers=5)


def owning(folder, searcher: Searcher) -> Searcher:
    """The index as if it owned local descriptors: 0 and 1 are the same points moved, 2 the same ones shuffled."""
    rng = np.random.default_rng(0)
    looks, xy = rng.normal(size=(30, 16)).astype(np.float32), rng.uniform(0, 300, (30, 2)).astype(np.float32)
    ones, drawn = np.ones(30, np.float32), []
    for image in range(16):
        own = rng.normal(size=(30, 16)).astype(np.float32) if image > 2 else looks
        at = (xy, xy * 0.9 + 7, rng.permutation(xy))[min(image, 2)]
        drawn.append(Descriptors(own, ones, at, ones, np.array([0, 30])))
    encoder = LocalEncoder()
    entry = write_local(folder / "local", [encoder.part(join(drawn))], 16, encoder)
    searcher.local = open_local(folder, [entry], encoder)
    return searcher


def test_geometry_keeps_the_pairs_that_agree_on_a_transformation(words, tmp_path):
    pytest.importorskip("cv2")
    searcher = owning(tmp_path, Searcher(words / "index"))
    pairs = Pairs(np.array([0, 0, 1]), np.array([1, 2, 2]), np.ones(3, np.float32))
    inliers = count_inliers(searcher, pairs)
    assert inliers[0] >= 28 and (inliers[1:] < 12).all()
    table = find_groups(searcher, "cluster", min_score=0.0, min_inliers=20, neighbours=15)
    assert table["image"].tolist() == searcher.images["name"][:2].tolist()
    assert table["inliers"].tolist() == [inliers[0]] * 2


def test_images_of_archives_are_named_by_archive_and_path(words):
    searcher = Searcher(words / "index")
    rows = searcher.images.copy()
    rows.loc[0, "archive"] = "/photos/a.tar"
    searcher.__dict__["images"] = rows
    table = find_groups(searcher, "cluster", min_score=0.0, neighbours=15).set_index("image")
    name = rows["name"][0]
    assert table.loc[name, "path"] == f"/photos/a.tar/{rows['path'][0]}"
    others = table.drop(name)
    assert pd.Series(others["path"]).str.startswith("/photos/a.tar").sum() == 0
