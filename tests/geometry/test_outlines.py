"""Landmarks and distances from outlines, against slow searches and in degenerate cases."""

import math

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from aop_pose import geometry

from .strategies import head_outlines, movement, reproducible

whole_point = st.tuples(st.integers(0, 60), st.integers(0, 60))


@pytest.mark.parametrize("turning", [1, -1])
def test_normals_of_a_circle_point_outwards_from_the_place_that_is_asked_for(turning):
    turn = turning * np.linspace(0, 2 * np.pi, 500, endpoint=False)
    circle = np.array([60, 50]) + 30 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    places, outward = geometry.outline_normals(circle, (60, 0), 8)
    # From the top on, clockwise as a picture shows it: y is down.
    clockwise = np.arange(8) * np.pi / 4 - np.pi / 2
    expected = np.stack([np.cos(clockwise), np.sin(clockwise)], axis=1)
    np.testing.assert_allclose(outward, expected, atol=0.02)
    np.testing.assert_allclose(places, (60, 50) + 30 * expected, atol=0.5)


def test_an_outline_without_points_has_no_normals():
    assert all(np.isnan(one).all() for one in geometry.outline_normals(np.empty((0, 2)), (0, 0), 4))


def test_symphysis_ends_of_a_tilted_bar():
    ps1, ps2 = geometry.symphysis_ends([(2, 9), (3, 8), (20, 3), (21, 2), (20, 2), (3, 9)])
    assert ps1.tolist() == [21, 2]
    assert ps2.tolist() == [2, 9]


def test_symphysis_ties_take_the_pair_that_comes_first_in_the_outline():
    # The two diagonals of a rectangle are equally long.
    corners = np.array([(0, 0), (0, 4), (10, 4), (10, 0)])
    ps1, ps2 = geometry.symphysis_ends(corners)
    assert (ps1.tolist(), ps2.tolist()) == ([10, 4], [0, 0])
    ps1, ps2 = geometry.symphysis_ends(np.roll(corners, 1, axis=0))
    assert (ps1.tolist(), ps2.tolist()) == ([10, 0], [0, 4])


def test_upright_symphysis_starts_at_its_upper_end():
    ps1, ps2 = geometry.symphysis_ends([(5, 30), (6, 20), (5, 10), (4, 20)])
    assert (ps1.tolist(), ps2.tolist()) == ([5, 10], [5, 30])


@given(outline=st.lists(whole_point, min_size=1, max_size=40))
@reproducible
def test_symphysis_ends_are_as_far_apart_as_the_slow_search_finds(outline):
    farthest = max((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 for a in outline for b in outline)
    ps1, ps2 = geometry.symphysis_ends(outline)
    if farthest == 0:
        assert np.isnan([ps1, ps2]).all()
        return
    assert ((ps1 - ps2) ** 2).sum() == farthest
    assert tuple(ps1) in outline
    assert tuple(ps2) in outline
    assert (-ps1[0], ps1[1]) < (-ps2[0], ps2[1])


def test_tangent_point_of_a_square_below_the_symphysis():
    square = [(0, 10), (0, 20), (10, 20), (10, 10)]
    # Seen from (0, 0), turning from left over down, the last corner reached is (10, 10).
    assert geometry.tangent_point((0, 0), (-5, 0), square).tolist() == [10, 10]
    # In the mirrored picture it is the mirrored corner.
    assert geometry.tangent_point((0, 0), (5, 0), [(-x, y) for x, y in square]).tolist() == [-10, 10]


def test_tangent_point_beyond_180_degrees_of_turn():
    head = [(-10, 10), (10, 30), (30, 10), (20, -2)]
    fh1 = geometry.tangent_point((0, 0), (-5, 0), head)
    assert fh1.tolist() == [20, -2]
    folded = 180 - math.degrees(math.atan2(2, 20))
    assert geometry.angle_of_progression((0, 0), (-5, 0), fh1) == pytest.approx(folded)


def test_tangent_point_of_a_head_that_reaches_across_the_ray():
    # A cut of the turn at 0 = 360 degrees would give (-20, -3), which lies just beyond the ray to PS2.
    head = [(-20, -3), (-20, 20), (8, 20), (8, 12)]
    assert geometry.tangent_point((0, 0), (-5, 0), head).tolist() == [8, 12]


def test_tangent_ties_take_the_point_that_comes_first_in_the_outline():
    head = np.array([(5, 5), (0, 20), (10, 10), (7, 7)])
    assert geometry.tangent_point((0, 0), (-5, 0), head).tolist() == [5, 5]
    assert geometry.tangent_point((0, 0), (-5, 0), np.roll(head, 2, axis=0)).tolist() == [10, 10]


@given(outline=head_outlines(), symphysis=st.integers(-19, 30))
@reproducible
def test_tangent_point_has_the_largest_turn_of_a_slow_search(outline, symphysis):
    # The ray to PS2 points left, the middle of the head lies below the line of the ray.
    ps2 = (-40, symphysis)
    largest, reached = -1.0, []
    for x, y in outline:
        turn = (math.atan2(symphysis, -40) - math.atan2(y, x)) % (2 * math.pi)
        if turn > largest + 1e-9:
            largest, reached = turn, [(x, y)]
        elif turn > largest - 1e-9:
            reached.append((x, y))
    fh1 = geometry.tangent_point((0, 0), ps2, outline)
    assert tuple(fh1) == reached[0]


@given(outline=head_outlines(), turn=st.floats(0, 2 * math.pi), scale=st.floats(0.1, 10), mirror=st.booleans())
@reproducible
def test_tangent_point_and_distance_move_with_the_picture(outline, turn, scale, mirror):
    ps1, ps2 = np.array([0.0, 0.0]), np.array([-30.0, 10.0])
    move = movement(turn, scale, mirror)
    shift = np.array([31.0, -17.0])
    moved = [p @ move.T + shift for p in (ps1, ps2, outline)]
    fh1 = geometry.tangent_point(ps1, ps2, outline)
    assert geometry.tangent_point(*moved) == pytest.approx(fh1 @ move.T + shift, abs=1e-9)
    distance = geometry.head_symphysis_distance(ps1, outline)
    assert geometry.head_symphysis_distance(moved[0], moved[2]) == pytest.approx(scale * distance)


def test_distance_is_to_the_edges_not_to_the_corners():
    square = [(0, 10), (0, 20), (10, 20), (10, 10)]
    assert geometry.head_symphysis_distance((4, 3), square) == 7
    assert geometry.head_symphysis_distance((4, 10), square) == 0
    # The edge that closes the outline counts too.
    assert geometry.head_symphysis_distance((4, 3), square[:1] + square[3:]) == 7


@given(outline=head_outlines(), place=whole_point)
@reproducible
def test_inside_is_what_a_polygon_encloses(outline, place):
    polygon = shapely.Polygon(outline)
    if not polygon.is_valid:
        return  # shapely has no answer for an outline that touches itself
    inside = polygon.contains(shapely.Point(place))
    covered = polygon.covers(shapely.Point(place))
    assert math.isnan(geometry.head_symphysis_distance(place, outline)) == inside
    assert np.isnan(geometry.tangent_point(place, (-30, 10), outline)).all() == covered


@pytest.mark.parametrize(
    ("ps1", "ps2", "outline"),
    [
        ((5, 15), (-5, 0), [(0, 10), (0, 20), (10, 20), (10, 10)]),
        ((math.nan, 0), (-5, 0), [(0, 10), (0, 20), (10, 20)]),
        ((1e300, 0), (-5, 0), [(0, 10), (0, 20), (10, 20)]),
        ((0, 0), (-5, 0), []),
        ((0, 0), (-5, 0), [(0, 10), (math.nan, 20), (10, 20)]),
        ((0, 0), (-5, 0), [(0, 10), (1e300, 20), (10, 20)]),
    ],
)
def test_no_tangent_and_no_distance_are_nan(ps1, ps2, outline):
    assert np.isnan(geometry.tangent_point(ps1, ps2, outline)).all()
    assert math.isnan(geometry.head_symphysis_distance(ps1, outline))


def test_tangent_needs_two_ends_and_a_vertex_off_the_outline():
    square = [(0, 10), (0, 20), (10, 20), (10, 10)]
    assert np.isnan(geometry.tangent_point((1, 1), (1, 1), square)).all()
    assert np.isnan(geometry.tangent_point((0, 15), (-5, 0), square)).all()
    assert np.isnan(geometry.tangent_point((0, 10), (-5, 0), square)).all()


def test_a_head_of_one_point_is_its_own_tangent():
    assert geometry.tangent_point((0, 0), (-5, 0), [(3, 4)]).tolist() == [3, 4]
    assert geometry.head_symphysis_distance((0, 0), [(3, 4)]) == 5


@pytest.mark.parametrize("outline", [[], [(3, 3)], [(3, 3)] * 9, [(1, 1), (math.nan, 2)], [(1, 1), (math.inf, 2)]])
def test_no_symphysis_has_no_ends(outline):
    assert np.isnan(geometry.symphysis_ends(outline)).all()
