import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from lrcr.config.reading import load_params
from lrcr.data.dataset import Photo
from lrcr.data.images import load_image, prepare, resize
from lrcr.errors import ImageError, ParamsError
from lrcr.models.factory import build_model
from lrcr.models.local import LocalModel
from lrcr.report.inspection import has_bandwidth_map, inspect_photo

SMALL = (
    *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
    *("smoothing.kind=average", "whitening.dim=8"),
)
SMOOTHING, GRAPH = "smoothing.kind=learnable", "graph.kind=gcn"


def build(*overrides: str) -> LocalModel:
    """A small model whose context does something."""
    model = build_model(load_params(overrides=[*SMALL, *overrides])).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in (model.smoothing, model.graph):
            for parameter in part.parameters():
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A photo of 96 × 64 with a bright disc on noise: its map is 24 × 16."""
    pixels = np.random.default_rng(0).integers(0, 120, (64, 96, 3))
    y, x = np.mgrid[:64, :96]
    pixels[(y - 40) ** 2 + (x - 60) ** 2 < 15**2] += 130
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return Photo(path)


def test_maps_are_those_of_the_model(photo):
    model = build(SMOOTHING, GRAPH, "graph.output=refine", "graph.attention_from=after")
    insight = inspect_photo(model, photo, 96)
    with torch.inference_mode():
        features = model.backbone(prepare(load_image(photo.path, orient=False), 96)[None])
        context = model.context(features)
        filter_ = model.smoothing.filter(context.refined)
        edges = model.graph.neighbourhood(features, np.ravel_multi_index(insight.locations[0].location, (16, 24)))
    np.testing.assert_array_equal(insight.attention, context.attention[0])
    np.testing.assert_allclose(insight.feature_norm, features[0].norm(dim=0), rtol=1e-5)
    np.testing.assert_array_equal(insight.bandwidth, filter_.bandwidth[0, 0])
    np.testing.assert_array_equal(insight.confidence, filter_.confidence[0, 0])
    np.testing.assert_array_equal(insight.locations[0].edges, edges)
    change = (context.refined - features)[0].norm(dim=0) / features[0].norm(dim=0)
    np.testing.assert_allclose(insight.change, change, rtol=1e-4, atol=1e-6)
    assert insight.change.min() >= 0 and insight.change.max() > 0.01
    assert insight.attention.shape == (16, 24)


def test_gate_and_share_multiply_the_attention(photo):
    insight = inspect_photo(build(SMOOTHING, "smoothing.attention=share", GRAPH), photo, 96)
    assert insight.change is None and insight.gate.std() > 0.01 and insight.share.std() > 0.01
    np.testing.assert_allclose(insight.attention, insight.feature_norm * insight.gate * insight.share, rtol=1e-4)


def test_the_photo_is_what_the_model_sees(photo):
    insight = inspect_photo(build(), photo, 48)
    assert insight.photo.size == (48, 32)
    assert insight.attention.shape == (8, 12)
    assert insight.photo.tobytes() == resize(load_image(photo.path, orient=False), 48).tobytes()


def test_what_a_model_does_not_have_is_none(photo):
    plain = inspect_photo(build(), photo, 96)
    np.testing.assert_array_equal(plain.feature_norm, plain.attention)
    assert (plain.change, plain.gate, plain.share, plain.bandwidth, plain.confidence) == (None,) * 5
    assert plain.locations == ()
    shared = inspect_photo(build(SMOOTHING, "smoothing.learn=shared"), photo, 96)
    assert shared.share is None
    assert (shared.bandwidth, shared.confidence) == (None, None)
    assert all(spot.weights.shape == (3, 3) and spot.edges is None for spot in shared.locations)
    unsure = inspect_photo(build(SMOOTHING, "smoothing.learn=bandwidth"), photo, 96)
    assert unsure.bandwidth is not None and unsure.confidence is None
    graph = inspect_photo(build(GRAPH, "graph.output=refine"), photo, 96)
    assert graph.change is not None and graph.gate is None and graph.bandwidth is None
    assert [(spot.weights, spot.edges.shape) for spot in graph.locations] == [(None, (16, 24))]
    attention = inspect_photo(build("graph.kind=attention"), photo, 96)
    assert attention.gate is not None and attention.change is None and attention.locations == ()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), False),
        ((SMOOTHING,), True),
        ((SMOOTHING, "smoothing.learn=shared"), False),
        ((SMOOTHING, "smoothing.learn=bandwidth"), True),
    ],
)
def test_models_with_a_map_of_bandwidth(photo, overrides, expected):
    model = build(*overrides)
    assert has_bandwidth_map(model) == expected == (inspect_photo(model, photo, 48).bandwidth is not None)


def test_four_spots_apart_are_chosen_away_from_the_border(photo):
    insight = inspect_photo(build(SMOOTHING, GRAPH, "smoothing.kernel=5"), photo, 96)
    inner = (slice(2, -2), slice(2, -2))
    places = [spot.location for spot in insight.locations]
    assert len(places) == 4
    assert insight.attention[places[0]] == insight.attention[inner].max()
    for index, (y, x) in enumerate(places):
        assert 2 <= y < 14 and 2 <= x < 22
        assert all(max(abs(y - v), abs(x - u)) >= 5 for v, u in places[:index])
    apart = np.zeros(insight.attention.shape, dtype=bool)
    apart[inner] = True
    y, x = places[0]
    apart[max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5] = False
    assert insight.bandwidth[places[1]] == insight.bandwidth[apart].max()
    assert [spot.edges is None for spot in insight.locations] == [False, True, True, True]


def test_a_small_map_has_as_many_spots_as_there_is_room_for(tmp_path):
    Image.new("RGB", (1, 1), "#808080").save(tmp_path / "dot.png")
    model = build(SMOOTHING, GRAPH)
    insight = inspect_photo(model, Photo(tmp_path / "dot.png"), 96)
    assert [spot.location for spot in insight.locations] == [(0, 0)]
    np.testing.assert_array_equal(insight.locations[0].weights, [[np.nan] * 3, [np.nan, 1, np.nan], [np.nan] * 3])
    assert insight.locations[0].edges.item() == pytest.approx(1)


def test_spots_are_asked_for_in_pixels_of_the_original(photo):
    model = build(SMOOTHING, GRAPH)
    insight = inspect_photo(model, photo, 48, at=[(0, 0), (95.9, 63.9), (60, 40)])
    assert [spot.location for spot in insight.locations] == [(0, 0), (7, 11), (5, 7)]
    for spot in insight.locations:
        assert spot.edges.sum() == pytest.approx(1, abs=1e-4)
        assert spot.edges.argmax() == np.ravel_multi_index(spot.location, (8, 12))


def test_spots_of_a_photo_on_its_side_are_oriented(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (96, 64), "#336699").save(tmp_path / "photo.jpg", exif=exif)
    insight = inspect_photo(build(GRAPH), Photo(tmp_path / "photo.jpg", orient=True), 96, at=[(63, 95)])
    assert insight.photo.size == (64, 96)
    assert insight.locations[0].location == (23, 15)


@pytest.mark.parametrize("spot", [(-1, 5), (96, 5), (5, 64), (float("nan"), 5), (5, float("inf"))])
def test_a_spot_outside_is_refused(photo, spot):
    with pytest.raises(ParamsError, match=r"photo.png: the point .* is outside the photo \(96 × 64 pixels\); move it"):
        inspect_photo(build(GRAPH), photo, 96, at=[spot])


def test_what_cannot_be_looked_at(photo, tmp_path):
    with pytest.raises(ParamsError, match="the model has neither filters nor edges to show at a point; name no point"):
        inspect_photo(build(), photo, 96, at=[(1, 1)])
    with pytest.raises(ImageError):
        inspect_photo(build(), Photo(tmp_path / "missing.png"), 96)


def test_a_cropped_border_has_no_maps(photo):
    whole, inner = (build(SMOOTHING, GRAPH, f"backbone.crop_border={border}") for border in (0, 2))
    insight = inspect_photo(inner, photo, 96)
    np.testing.assert_array_equal(insight.feature_norm, inspect_photo(whole, photo, 96).feature_norm[2:-2, 2:-2])
    assert insight.attention.shape == insight.gate.shape == insight.bandwidth.shape == (12, 20)
    np.testing.assert_allclose(insight.window, (2 / 24, 2 / 16, 22 / 24, 14 / 16))
    [spot] = inspect_photo(inner, photo, 96, at=[(60, 40)]).locations
    assert spot.location == (8, 13)
    with pytest.raises(ParamsError, match="border"):
        inspect_photo(inner, photo, 96, at=[(60, 7)])
