"""Volumes in space: planes and the left side, against numbers worked out by hand and slow references."""

import math

import numpy as np
import pytest

from aop_pose import geometry
from aop_pose.geometry import Plane

NAN = math.nan
X, Y, Z = np.eye(3)
TILTED = np.array([0.0, math.sin(math.radians(30)), math.cos(math.radians(30))])


def plane(normal, through=(0, 0, 0)):
    return Plane(np.array(through, float), np.array(normal, float))


# ---- affines


def test_the_affine_of_a_hand_worked_volume():
    affine = np.array([[0, 0, 3.0, 5], [-1, 0, 0, 6], [0, 2, 0, 7], [0, 0, 0, 1]])
    assert geometry.to_mm(affine, (1, 1, 1)).tolist() == [8, 5, 9]
    assert geometry.from_mm(affine, (8, 5, 9)).tolist() == [1, 1, 1]
    assert geometry.voxel_spacing(affine).tolist() == [1, 2, 3]
    # i to the back, j up, k to the right: turned by thumb and fingers, that is left-handed.
    assert geometry.handedness(affine) == np.sign(np.cross(-Y, Z) @ X) == -1
    assert geometry.handedness(np.diag([1.0, 0, 1, 1])) == 0


# ---- planes


def test_points_on_a_plane_give_it_back():
    points = np.array([(3, 0, 0), (3, 4, 1), (3, -2, 5), (3, 1, 1)])
    found = geometry.fit_plane(points)
    assert found.point.tolist() == [3, 0.75, 1.75]
    assert np.abs(found.normal) == pytest.approx([1, 0, 0])
    assert np.abs(found.distance([(5, 9, 9), (3, 9, 9)])) == pytest.approx([2, 0])


def test_the_plane_has_the_least_squares_of_all():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(10, 3)) * (9, 5, 1)
    found = geometry.fit_plane(points)
    best = float((found.distance(points) ** 2).sum())
    for normal in rng.normal(size=(2000, 3)):
        other = plane(normal / np.linalg.norm(normal), found.point)
        assert (other.distance(points) ** 2).sum() >= best - 1e-9
    for shift in rng.normal(size=(100, 3)):
        assert (plane(found.normal, found.point + shift).distance(points) ** 2).sum() >= best - 1e-9


def test_a_missing_point_is_left_aside():
    points = np.array([(0, 0, 2), (1, 0, 2), (0, 1, 2), (5, NAN, 9)])
    assert np.abs(geometry.fit_plane(points).normal) == pytest.approx([0, 0, 1])


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(0, 0, 0), (1, 2, 3)],
        [(0, 0, 0), (1, 2, 3), (2, 4, 6), (-3, -6, -9)],
        [(1, 1, 1)] * 4,
        [(0, 0, 2), (1, 0, 2), (NAN, 1, 2)],
    ],
)
def test_points_that_have_no_plane_give_nan(points):
    found = geometry.fit_plane(points)
    assert np.isnan([*found.point, *found.normal]).all()
    assert math.isnan(geometry.plane_angle(found, plane(X)))
    assert math.isnan(geometry.plane_distance(found, plane(X), (0, 0, 0)))


def test_the_angle_of_planes_has_no_direction():
    assert geometry.plane_angle(plane(Z), plane(TILTED)) == pytest.approx(30)
    assert geometry.plane_angle(plane(Z), plane(-TILTED)) == pytest.approx(30)
    assert geometry.plane_angle(plane(X), plane(Y)) == pytest.approx(90)
    assert geometry.plane_angle(plane(X), plane(-X)) == 0
    almost = np.array([1, 1e-9, 0])
    assert geometry.plane_angle(plane(X), plane(almost)) == pytest.approx(math.degrees(1e-9))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_distance_of_planes_is_that_of_their_distances_from_the_origin(sign):
    parallel = geometry.plane_distance(plane(Z, (0, 0, 2)), plane(sign * Z, (7, 7, 5)), (40, -3, 11))
    assert parallel == pytest.approx(3)
    # Seen from a point of one plane: how far that point lies from the other, 10 sin 30 = 5.
    assert geometry.plane_distance(plane(Z), plane(sign * TILTED), (3, 10, 0)) == pytest.approx(5)
    # And where they cross they do not differ.
    assert geometry.plane_distance(plane(Z), plane(sign * TILTED), (99, 0, 0)) == pytest.approx(0)


# ---- lengths and sides


def test_a_length_in_space_counts_all_three_axes():
    assert geometry.point_distance((0, 0, 0), (2, 3, 6)) == 7
    assert np.isnan(geometry.point_distance((0, 0, 0), (2, 3, NAN)))
    assert geometry.point_distance(np.zeros((2, 3)), [(1, 2, 2), (0, 0, 5)]).tolist() == [3, 5]


# A fetus that stands and looks to the front (y): the patient's right is its right (x), so its left is at -x.
CREST, NOSE, NECK = np.array([(0, 0, 90), (0, 30, 60), (0, -20, 50)])
LEFT, RIGHT = np.array([(-15, 0, 40), (15, 0, 40)])


def turned(seed):
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return rotation * np.sign(np.linalg.det(rotation))


def test_the_left_side_is_named_by_hand():
    assert geometry.first_is_left(CREST, NOSE, NECK, LEFT, RIGHT)
    assert not geometry.first_is_left(CREST, NOSE, NECK, RIGHT, LEFT)


@pytest.mark.parametrize("seed", range(5))
def test_the_left_side_stays_the_left_one_however_the_fetus_lies(seed):
    points = np.array([CREST, NOSE, NECK, LEFT, RIGHT]) @ turned(seed).T + (5, 6, 7)
    assert geometry.first_is_left(*points)


@pytest.mark.parametrize("mirror", [(-1, 1, 1), (1, -1, 1), (1, 1, -1)])
def test_in_mirrored_coordinates_the_rule_turns_over(mirror):
    """Why it takes millimetres: in voxel indices of a left-handed file it would name every side wrongly."""
    assert not geometry.first_is_left(*(np.array([CREST, NOSE, NECK, LEFT, RIGHT]) * mirror))
    assert not geometry.first_is_left(*np.array([CREST, NOSE, NECK, LEFT, RIGHT])[:, ::-1])


def test_many_volumes_at_once():
    five = np.array([CREST, NOSE, NECK, LEFT, RIGHT])
    several = np.stack([five, five * (-1, 1, 1), np.where(np.arange(5)[:, None] == 3, NAN, five)], axis=1)
    assert geometry.first_is_left(*several).tolist() == [True, False, False]
