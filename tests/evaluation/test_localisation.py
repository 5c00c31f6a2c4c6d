"""Shares inside the landmark against a slow count, and against images in which the landmark is painted."""

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image

from lrcr.data.dataset import Dataset, empty_table
from lrcr.data.images import load_image
from lrcr.errors import ArtifactError, DatasetError, ImageError
from lrcr.evaluation.localisation import Localisation, measure_localisation
from lrcr.features.store import Descriptors, join, open_descriptors, write_shard
from lrcr.storage.artifacts import Manifest, write_manifest


def make_local(xy, strength):
    rows = len(xy)
    return Descriptors(
        descriptors=np.zeros((rows, 2), np.float32),
        strength=np.array(strength, np.float32),
        xy=np.array(xy, np.float32).reshape(rows, 2),
        scale=np.ones(rows, np.float32),
        offsets=np.array([0, rows]),
    )


def make_store(folder, images, shard=2):
    """A store of one `Descriptors` an image."""
    names = []
    for first in range(0, len(images), shard):
        names.append(f"{first}.h5")
        write_shard(folder / names[-1], join(images[first : first + shard]))
    rows = sum(len(local.xy) for local in images)
    facts = {"images": len(images), "descriptors": rows, "shards": names, "shard": shard}
    write_manifest(folder, Manifest("descriptors", {}, {}, facts))
    return open_descriptors(folder)


def make_dataset(root, sizes, masks=(), queries=(), orient=False):
    """Images `0.png`, …; masks by image as arrays; queries as (image, box)."""
    for image, mask in dict(masks).items():
        Image.fromarray(np.asarray(mask)).save(root / f"mask-{image}.png")
    images = empty_table("images").reindex(range(len(sizes)))
    images = images.assign(
        image=range(len(sizes)),
        path=[f"{image}.png" for image in range(len(sizes))],
        width=[size[0] for size in sizes],
        height=[size[1] for size in sizes],
        mask=pd.array([f"mask-{i}.png" if i in dict(masks) else None for i in range(len(sizes))], "string"),
    )
    ids = pd.array([image for image, _ in queries], "Int64")
    asked = empty_table("queries").reindex(range(len(queries))).assign(query=range(len(queries)), image=ids)
    asked["path"] = [f"{image or 0}.png" for image, _ in queries]
    asked[["x0", "y0", "x1", "y1"]] = np.array([box or [np.nan] * 4 for _, box in queries]).reshape(-1, 4)
    empty = {table: empty_table(table) for table in ("relevance", "pairs")}
    return Dataset("tiny", root, orient, "", images=images, queries=asked, **empty)


def everywhere(width, height):
    """A descriptor in the middle of each pixel."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x.ravel(), y.ravel()], axis=1) + 0.5


def test_equals_the_slow_count(tmp_path):
    rng = np.random.default_rng(0)
    sizes = [(9, 7), (5, 8), (6, 6), (4, 4), (7, 3)]
    masks = {image: rng.random(sizes[image][::-1]) < 0.4 for image in (0, 1, 2, 4)}
    masks[2][:] = False  # the landmark is hidden
    images = [make_local(rng.uniform(0, 1, (20, 2)) * size, rng.random(20)) for size in sizes]
    images[4] = make_local([], [])
    descriptors, attention, area = [], [], []
    for image in (0, 1):
        local = images[image]
        inside = [bool(masks[image][int(y), int(x)]) for x, y in local.xy]
        descriptors.append(sum(inside) / 20)
        attention.append(sum(s for s, yes in zip(local.strength, inside, strict=True) if yes) / local.strength.sum())
        area.append(masks[image].sum() / masks[image].size)
    found = measure_localisation(make_dataset(tmp_path, sizes, masks), make_store(tmp_path, images))
    assert found.images == 2
    expected = [100 * np.mean(values) for values in (descriptors, attention, area)]
    assert [found.descriptors, found.attention, found.area] == pytest.approx(expected)


def test_blind_descriptors_have_the_share_of_the_area(tmp_path):
    mask = np.random.default_rng(0).random((11, 8)) < 0.3
    store = make_store(tmp_path, [make_local(everywhere(8, 11), np.ones(88))])
    found = measure_localisation(make_dataset(tmp_path, [(8, 11)], {0: mask}), store)
    assert found.descriptors == pytest.approx(found.area)
    assert found.attention == pytest.approx(found.area)


def test_attention_counts_by_strength(tmp_path):
    mask = np.zeros((4, 4), bool)
    mask[:, :2] = True
    store = make_store(tmp_path, [make_local([[0, 0], [1.99, 3.99], [2, 0], [4, 4]], [1, 0.5, 0.25, 0.25])])
    found = measure_localisation(make_dataset(tmp_path, [(4, 4)], {0: mask}), store)
    assert found == Localisation(descriptors=50, attention=75, area=50, images=1)


def test_boxes_stand_in_for_masks(tmp_path):
    for image in range(3):
        Image.new("RGB", (10, 10)).save(tmp_path / f"{image}.png")
    masks = {1: np.ones((10, 10), bool)}
    queries = [(0, (0, 0, 5, 4)), (0, (3.4, 2, 8, 6)), (1, (0, 0, 1, 1)), (2, None), (None, (0, 0, 1, 1))]
    local = make_local([[0.5, 0.5], [3.5, 3.5], [7.5, 5.5], [7.5, 0.5]], [1, 1, 1, 1])
    dataset = make_dataset(tmp_path, [(10, 10)] * 3, masks, queries)
    found = measure_localisation(dataset, make_store(tmp_path, [local] * 3))
    assert (found.descriptors, found.area, found.images) == ((75 + 100) / 2, (20 + 20 - 4 + 100) / 2, 2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_of_the_image_as_it_is_shown(tmp_path, orientation):
    stored = Image.new("RGB", (12, 9))
    stored.paste("white", (2, 1, 9, 4))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored.save(tmp_path / "0.png", exif=exif)
    upright = np.asarray(load_image(tmp_path / "0.png", orient=True).pixels.convert("L")) > 127
    y, x = np.nonzero(upright)
    store = make_store(tmp_path, [make_local(np.stack([x, y], axis=1) + 0.5, np.ones(21))])
    shown = (x.min(), y.min(), x.max() + 1, y.max() + 1)
    dataset = make_dataset(tmp_path, [(12, 9)], queries=[(0, shown)], orient=True)
    found = measure_localisation(dataset, store)
    assert found == Localisation(descriptors=100, attention=100, area=100 * (21 / 108), images=1)


def test_where_no_landmark_has_a_place(tmp_path):
    store = make_store(tmp_path, [make_local([[0, 0]], [1])])
    assert measure_localisation(make_dataset(tmp_path, [(4, 4)], queries=[(0, None)]), store) is None
    assert measure_localisation(make_dataset(tmp_path, []), store) is None


def test_what_does_not_fit_is_refused(tmp_path):
    dataset = make_dataset(tmp_path, [(4, 4), (4, 4)], {1: np.ones((3, 4), bool)})
    local = make_local([[0, 0]], [1])
    (tmp_path / "two").mkdir()
    (tmp_path / "one").mkdir()
    with pytest.raises(DatasetError, match=r"mask-1\.png: 4 × 3 pixels, but its image has 4 × 4"):
        measure_localisation(dataset, make_store(tmp_path / "two", [local] * 2))
    Image.new("1", (4, 4)).save(tmp_path / "mask-1.png")
    with pytest.raises(ArtifactError, match="has no image 1"):
        measure_localisation(dataset, make_store(tmp_path / "one", [local]))
    (tmp_path / "mask-1.png").unlink()
    with pytest.raises(ImageError, match=r"mask-1\.png: cannot be read"):
        measure_localisation(dataset, make_store(tmp_path / "two", [local] * 2))
