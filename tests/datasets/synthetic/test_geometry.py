"""Projection, depth test and visibility, compared with computations on points in space."""

import numpy as np
import pytest

from lrcr.datasets.synthetic.camera import sample_camera
from lrcr.datasets.synthetic.frame import local_scale
from lrcr.datasets.synthetic.landmark import Plane, build_landmark

from .scenes import SIZE, Y, Z, board, camera_at, empty_frame, measure


def test_homography_agrees_with_the_projection_of_points_in_space():
    plane = Plane(board(0, 0, 4, 3, 0).texture, np.array([1.0, 2.0, -3.0]), Z, Y)
    camera = camera_at((7, 2, 18), (0, 4, 0))
    points = np.array([[0.0, 0.0], [4.0, 0.0], [1.3, 2.7]])
    homogeneous = np.column_stack([points, np.ones(3)]) @ camera.homography(plane).T
    pixels, depth = camera.project(plane.origin + points[:, :1] * plane.across + points[:, 1:] * plane.up)
    np.testing.assert_allclose(homogeneous[:, :2] / homogeneous[:, 2:], pixels, rtol=1e-9)
    np.testing.assert_allclose(homogeneous[:, 2], depth, rtol=1e-9)


def test_local_scale_is_the_root_of_the_area_of_a_small_square():
    camera, plane = camera_at((9, 3, 14), (0, 4, 0)), board(-5, 0, 10, 8, 0)
    step, point = 1e-4, np.array([2.0, 6.0])
    corners = plane.origin[:2] + point + step * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    x, y = camera.project(np.column_stack([corners, np.zeros(4)]))[0].T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert local_scale(camera.homography(plane), point[None])[0] == pytest.approx(np.sqrt(area) / step, rel=1e-3)


def test_visible_points_are_those_whose_ray_to_the_camera_is_free():
    wall, screen = board(-5, 0, 10, 8, 0), board(-2, 0, 2.5, 5, 3)
    camera = camera_at((6, 2, 16), (0, 3, 0))
    visible, _, space = measure([wall, screen], camera)
    pixels, _ = camera.project(space)
    to_border = np.minimum(pixels, np.array(SIZE) - pixels).min(axis=1)
    share = (3 - space[:, 2]) / (camera.position[2] - space[:, 2])
    crossing = space + share[:, None] * (camera.position - space)
    to_edge = np.minimum(1.25 - np.abs(crossing[:, 0] + 0.75), 2.5 - np.abs(crossing[:, 1] - 2.5))  # > 0 in the screen
    behind = (space[:, 2] < 3) & (to_edge > 0)
    assert behind.sum() > 20
    # A pixel at an edge shows one of the two planes: points within a pixel (at most 0.1 m) of an edge are not compared.
    clear = (np.abs(to_border) > 1) & (np.abs(to_edge) > 0.1)
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(visible[clear], ((to_border > 0) & ~behind)[clear])


def test_the_nearer_plane_is_shown_in_either_order_of_drawing():
    wall, screen, camera = board(-5, 0, 10, 8, 0), board(-2, 0, 2.5, 5, 3), camera_at((0, 2, 16), (0, 3, 0))
    owners = []
    for order in ([(wall, 1), (screen, 2)], [(screen, 2), (wall, 1)]):
        frame = empty_frame(camera)
        for plane, owner in order:
            frame.paste_plane(plane, owner)
        owners.append(frame.owner)
    np.testing.assert_array_equal(*owners)
    assert set(np.unique(owners[0])) == {0, 1, 2}
    column, row = camera.project(np.array([[-0.75, 2.5, 3.0]]))[0][0].astype(int)  # the middle of the screen
    assert owners[0][row, column] == 2


def test_a_wall_seen_from_behind_or_too_small_is_not_visible():
    wall = board(-5, 0, 10, 8, 0)
    assert not measure([wall], camera_at((0, 4, -14), (0, 4, 0)))[0].any()
    assert measure([wall], camera_at((0, 4, 14), (0, 4, 0)))[0].all()
    assert not measure([wall], camera_at((0, 4, 14), (0, 4, 0), focal=40.0))[0].any()


def test_favourable_views_contain_the_whole_landmark():
    landmark, rng = build_landmark(3, 120), np.random.default_rng(0)
    for _ in range(20):
        camera = sample_camera(landmark, SIZE, True, rng)
        x, y, z = landmark.low[0], landmark.high[0], landmark.high[2]
        corners = np.array([[x, 0, z], [y, 0, z], [x, landmark.high[1], z], [y, landmark.high[1], z]])
        pixels, depth = camera.project(corners)
        assert (depth > 0).all()
        assert (pixels > -1e-6).all() and (pixels < np.array(SIZE) + 1e-6).all()


def test_a_seed_determines_a_landmark():
    def contents(landmark):
        arrays = []
        for plane in landmark.planes:
            layer = plane.texture.at(1e3)
            arrays += [plane.origin, plane.across, plane.up, layer.colour, layer.alpha, layer.relief, layer.panes]
        return [array.tobytes() for array in arrays]

    first, again, other = (build_landmark(seed, 120) for seed in (1, 1, 2))
    assert contents(first) == contents(again)
    colours = [{plane.texture.at(1e3).colour.tobytes() for plane in built.planes} for built in (first, other)]
    assert not colours[0] & colours[1]
