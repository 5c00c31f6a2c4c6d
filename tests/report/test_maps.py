from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from lrcr.errors import ParamsError
from lrcr.report import maps as module
from lrcr.report.inspection import InspectedLocation, Inspection
from lrcr.report.maps import draw_maps


def ramp(height, width):
    return np.linspace(0.2, 1, height * width, dtype=np.float32).reshape(height, width)


def insight(shape=(6, 8), locations=(), **maps):
    values = {"feature_norm": ramp(*shape), "attention": ramp(*shape)}
    values |= dict.fromkeys(("change", "gate", "share", "bandwidth", "confidence"))
    return Inspection(Image.new("RGB", (80, 60), "white"), **{**values, **maps}, locations=tuple(locations))


def titles(model, baseline=None):
    panels = [*module._attention(model, baseline), *module._context(model), *module._edges(model)]
    return [panel.title for panel in panels]


def spot(location, weights=True, edges=True, shape=(6, 8)):
    window = np.full((3, 3), 1 / 9, np.float32)
    return InspectedLocation(
        location, window if weights else None, np.full(shape, 1 / 48, np.float32) if edges else None
    )


def draw(path, *arguments):
    draw_maps(path, "photo.jpg", *arguments)
    with Image.open(path) as drawn:
        return np.array(drawn.convert("RGB"))


def test_panels_that_a_model_does_not_have_are_left_out():
    assert titles(insight()) == ["attention"]
    assert titles(insight(change=ramp(6, 8))) == ["attention", "relative change by the graph"]
    full = insight(
        attention=ramp(6, 8)[::-1],
        change=ramp(6, 8),
        bandwidth=ramp(6, 8),
        confidence=ramp(6, 8),
        locations=[spot((0, 0)), spot((2, 2), edges=False)],
    )
    assert titles(full) == [
        "attention before context",
        "attention after context",
        "attention: after − before",
        "relative change by the graph",
        "self-confidence c",
        "bandwidth a (larger is narrower)",
        "edges of 1",
    ]


def test_attention_stands_beside_the_baseline():
    other = insight(attention=ramp(6, 8)[:, ::-1])
    assert titles(insight(), other) == [
        "attention of the baseline",
        "attention of the model",
        "attention: model − baseline",
    ]
    assert titles(insight(), insight()) == ["attention (equal to the baseline's)"]
    twice = insight(attention=7 * ramp(6, 8))
    assert titles(insight(), twice) == ["attention (equal to the baseline's)"], "strength is relative"
    assert titles(insight(), insight(shape=(12, 16))) == ["attention of the baseline", "attention of the model"]


def test_attention_is_drawn_where_it_is(tmp_path):
    """One strong location in the lower left: a dark cell there, as large as it should be, and nowhere else."""
    attention = np.zeros((6, 8), np.float32)
    attention[5, 0] = 3
    drawn = draw(tmp_path / "maps.png", insight(feature_norm=attention, attention=attention))
    blank = draw(tmp_path / "blank.png", insight(feature_norm=attention * 0, attention=attention * 0))
    rows, columns = np.nonzero((drawn != blank).any(axis=2))
    panel = np.nonzero((blank[:, 390:660] > 240).all(axis=2))
    cell = (columns.max() - columns.min() + 1, rows.max() - rows.min() + 1)
    assert cell[0] == pytest.approx(cell[1], abs=2), "equal aspect"
    assert len(rows) == pytest.approx(cell[0] * cell[1], rel=0.05)
    assert columns.min() - 370 < 30 and rows.max() > panel[0].max() - 60


def test_more_of_a_model_makes_a_larger_picture(tmp_path):
    shapes = [
        draw(tmp_path / f"{number}.png", *looked).shape
        for number, looked in enumerate(
            [
                (insight(),),
                (insight(), insight(attention=ramp(6, 8)[::-1])),
                (insight(change=ramp(6, 8), bandwidth=ramp(6, 8), confidence=ramp(6, 8), locations=[spot((1, 1))]),),
            ]
        )
    ]
    assert shapes[0][1] < shapes[1][1]
    assert shapes[0][0] == shapes[1][0] < shapes[2][0]


@pytest.mark.parametrize(
    ("panels", "columns"), [(2, 2), (3, 3), (4, 4), (5, 3), (6, 3), (7, 4), (8, 4), (9, 3), (10, 4), (12, 4)]
)
def test_panels_leave_few_empty_places(panels, columns):
    assert module._count_columns(panels) == columns


@pytest.mark.parametrize("size", [(1, 1), (2000, 20), (20, 2000), (7, 5)])
@pytest.mark.filterwarnings("error")
def test_constant_maps_of_photos_of_any_shape(tmp_path, size):
    """Each panel is of another constant: nothing is divided by, and every colour bar has two different ends."""
    constants = [np.full((2, 3), value, np.float32) for value in (1.0, 0.0, 1e-9, 1e6, 0.0, 1.0, 1e-9)]
    looked = Inspection(Image.new("RGB", size), *constants, locations=(spot((1, 2), shape=(2, 3)),))
    panels = [*module._attention(looked, None), *module._context(looked), *module._edges(looked)]
    assert len(panels) == 9
    assert all(panel.bounds[0] < panel.bounds[1] for panel in panels)
    drawn = draw(tmp_path / "maps.png", looked)
    assert drawn.shape[1] == 370 * module._count_columns(10)


def test_many_spots_wrap(tmp_path):
    one, nine = (
        draw(
            tmp_path / f"{count}.png",
            insight(locations=[spot((0, column % 8), edges=False) for column in range(count)]),
        )
        for count in (1, 9)
    )
    assert nine.shape[0] - one.shape[0] == 2 * 220
    assert nine.shape[1] == one.shape[1]


def test_windows_up_to_five_tell_their_weights(tmp_path):
    for kernel, written in ((3, 9), (5, 25), (7, 0)):
        weights = np.full((kernel, kernel), 1 / kernel**2, np.float32)
        figure = module.blank_figure(3, 3)
        [axis] = module._make_axes(figure, 1, 1)
        module._write_weights(axis, 100 * weights, 100.0)
        assert len(axis.texts) == written


def test_a_weight_outside_the_map_is_not_written():
    figure = module.blank_figure(3, 3)
    [axis] = module._make_axes(figure, 1, 1)
    weights = np.full((3, 3), 25, np.float32)
    weights[0] = weights[:, 0] = np.nan
    module._write_weights(axis, weights, 25.0)
    assert [text.get_text() for text in axis.texts] == ["25"] * 4


def test_names_are_written_as_they_are_or_shortened(tmp_path):
    draw_maps(tmp_path / "maps.png", "two $x_ dollars$ and {.jpg" + "x" * 200, insight())
    assert [file.name for file in tmp_path.iterdir()] == ["maps.png"]


def test_equal_insights_give_equal_pictures(tmp_path):
    for name in ("a.png", "b.png"):
        draw(tmp_path / name, insight(bandwidth=ramp(6, 8), locations=[spot((1, 1))]))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_bad_names_are_refused(tmp_path):
    with pytest.raises(ParamsError, match=r"maps.gif: a picture of maps is a .png, .jpg or .jpeg; name it so"):
        draw_maps(tmp_path / "maps.gif", "photo.jpg", insight())
    assert not list(tmp_path.iterdir())
    draw_maps(tmp_path / "maps.JPG", "photo.jpg", insight())
    with Image.open(tmp_path / "maps.JPG") as drawn:
        assert drawn.format == "JPEG"


def test_each_map_lies_in_the_window_of_its_own_model():
    inner, whole = insight(), insight((8, 10))
    inner = replace(inner, window=(0.1, 0.125, 0.9, 0.875))
    figure = Figure()
    drawn = []
    for panel in module._attention(inner, whole):
        axis = figure.add_subplot()
        module._show_panel(axis, panel, inner)
        drawn.append(axis.images[1].get_extent())
    np.testing.assert_allclose(drawn, [(0, 80, 60, 0), (8, 72, 52.5, 7.5)])
    assert titles(inner, insight()) == ["attention of the baseline", "attention of the model"]
