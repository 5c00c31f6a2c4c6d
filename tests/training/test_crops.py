import numpy as np
import pytest
import torch

from lrcr.data.dataset import open_dataset
from lrcr.data.images import STD
from lrcr.errors import ImageError
from lrcr.training.crops import crop_batches, draw_box, random_crop


def test_crops_follow_their_seed_and_come_in_order(nine):
    photos = open_dataset(nine).photos()
    batches = [(photos[:3], [1, 2, 3]), (photos[3:5], [4, 5]), (photos[:1], [1])]
    crops = list(crop_batches(batches, 16, 0.08))
    assert [crop.shape for crop in crops] == [(3, 3, 16, 16), (2, 3, 16, 16), (1, 3, 16, 16)]
    assert torch.equal(crops[1][1], random_crop(photos[4], 16, 0.08, 5)) and torch.equal(crops[0][0], crops[2][0])
    assert not torch.equal(random_crop(photos[4], 16, 0.08, 5), random_crop(photos[4], 16, 0.08, 6))


def test_colour_noise_shifts_a_crop_along_the_principal_components_of_colours(nine):
    photo = open_dataset(nine).photos()[0]
    plain = random_crop(photo, 16, 0.08, 0)
    shift = random_crop(photo, 16, 0.08, 0, 0.1) - plain
    assert shift.flatten(1).std(dim=1).max() < 1e-6 < shift.abs().max(), "the same shift at all locations"
    shifts = []
    for seed in range(300):
        shift = random_crop(photo, 2, 0.08, seed, 0.1) - random_crop(photo, 2, 0.08, seed)
        shifts.append(shift[:, 0, 0].numpy() * STD)
    variances, axes = np.linalg.eigh(np.cov(np.array(shifts).T))
    np.testing.assert_allclose(variances[::-1] ** 0.5, [0.02175, 0.00188, 0.00045], rtol=0.15)
    strongest = np.abs(axes[:, -1])
    np.testing.assert_allclose(strongest, [0.5675, 0.5808, 0.5836], atol=0.01)
    assert torch.equal(*(next(crop_batches([([photo], [7])], 16, 0.08, 0.1)) for _ in range(2)))


def test_a_photo_that_cannot_be_decoded_is_named(tmp_path, draw_dataset):
    folder = draw_dataset(tmp_path / "data", [(48, 36)] * 2, ["a", "a"])
    (folder / "images/1.png").write_bytes(b"text")
    with pytest.raises(ImageError, match=r"1\.png: not an image of a known format"):
        list(crop_batches([(open_dataset(folder).photos(), [1, 2])], 16, 0.08))


@pytest.mark.parametrize("area", [0.08, 0.5])
@pytest.mark.parametrize(("width", "height"), [(400, 300), (300, 400), (1000, 10)])
def test_boxes_lie_inside_and_cover_the_least_share_to_all(width, height, area):
    rng, shares = np.random.default_rng(0), []
    for _ in range(300):
        x0, y0, x1, y1 = draw_box(width, height, area, rng)
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        assert 3 / 4 - 1e-6 <= (x1 - x0) / (y1 - y0) <= 4 / 3 + 1e-6
        shares.append((x1 - x0) * (y1 - y0) / (width * height))
    if width < 1000:
        assert area <= min(shares) < area + 0.04 and 0.85 < max(shares) <= 1
