"""Head biometry against known ellipses and numbers worked out by hand."""

import csv
import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aop_pose import geometry

from .strategies import reproducible


def ellipse(centre: tuple[float, float], ofd: float, bpd: float, tilt: float, count: int = 200) -> np.ndarray:
    """Points of an ellipse whose long axis is turned by ``tilt`` degrees."""
    t = np.linspace(0, 2 * math.pi, count, endpoint=False)
    along = np.array([math.cos(math.radians(tilt)), math.sin(math.radians(tilt))])
    across = np.array([-along[1], along[0]])
    return centre + ofd / 2 * np.cos(t)[:, None] * along + bpd / 2 * np.sin(t)[:, None] * across


@given(
    centre=st.tuples(st.floats(0, 2000), st.floats(0, 2000)),
    ofd=st.floats(20, 800),
    ratio=st.floats(0.3, 0.97),
    tilt=st.floats(0, 180),
)
@reproducible
def test_ellipse_axes_of_a_known_ellipse(centre, ofd, ratio, tilt):
    ofd1, ofd2, bpd1, bpd2 = geometry.ellipse_axes(ellipse(centre, ofd, ratio * ofd, tilt))
    along = np.array([math.cos(math.radians(tilt)), math.sin(math.radians(tilt))])
    across = np.array([-along[1], along[0]])
    tolerance = 1e-3 * ofd
    for ends, half_axis in (((ofd1, ofd2), along * ofd / 2), ((bpd1, bpd2), across * ratio * ofd / 2)):
        gap = [np.hypot(*(ends[0] - centre - sign * half_axis)) for sign in (1, -1)]
        assert min(gap) < tolerance
        assert ends[0] + ends[1] == pytest.approx(2 * np.array(centre), abs=tolerance)
    assert ofd1[0] <= ofd2[0]
    assert bpd1[1] <= bpd2[1]


def test_ellipse_axes_of_a_drawn_mask_lie_within_a_pixel():
    picture = np.zeros((300, 400), np.uint8)
    cv2.ellipse(picture, (200, 150), (120, 90), 0, 0, 360, 1, -1)
    axes = geometry.ellipse_axes(geometry.largest_contour(picture))
    assert np.array(axes) == pytest.approx(np.array([(80, 150), (320, 150), (200, 60), (200, 240)]), abs=1)


@pytest.mark.parametrize(
    "outline",
    [
        [],
        [(1, 1)] * 10,
        [(0, 0), (1, 0), (1, 1), (0, 1)],
        [(x, 2 * x + 1) for x in range(50)],
        [(0, 0), (1, 0), (1, 1), (0, 1), (math.nan, 3), (2, 2)],
    ],
)
def test_no_ellipse_is_nan(outline):
    assert np.isnan(geometry.ellipse_axes(outline)).all()


def test_biometry_worked_out_by_hand():
    assert geometry.point_distance((0, 0), (3, 4)) == 5
    assert np.isnan(geometry.point_distance((0, math.nan), (3, 4)))
    assert np.isnan(geometry.point_distance((0, math.inf), (3, 4)))
    assert geometry.point_distance(np.zeros((6, 2)), (3, 4)).tolist() == [5] * 6
    assert geometry.head_circumference(90, 110) == pytest.approx(100 * math.pi)
    assert geometry.ramanujan_perimeter(100, 100) == pytest.approx(100 * math.pi)
    assert np.isnan(geometry.ramanujan_perimeter(0, 0))


@pytest.mark.parametrize("ratio", [0.5, 0.7, 0.78, 0.9, 1.0])
def test_ramanujan_equals_the_perimeter_by_integration(ratio):
    # The trapezoid rule on a periodic integrand converges beyond any power of the step.
    t = np.linspace(0, 2 * math.pi, 2000, endpoint=False)
    perimeter = np.hypot(100 * np.sin(t), 100 * ratio * np.cos(t)).mean() * 2 * math.pi
    assert geometry.ramanujan_perimeter(200 * ratio, 200) == pytest.approx(perimeter, rel=1e-9)


CROSS = np.array([(0, 50), (120, 50), (60, 5), (60, 95)], float)


def of_half_axes(centre, along: float, ofd: float, bpd: float) -> np.ndarray:
    """The four ends of perpendicular axes; ``along`` is the direction of OFD in radians."""
    u = np.array([math.cos(along), math.sin(along)])
    v = np.array([-u[1], u[0]])
    return np.array(centre) + np.array([-ofd * u, ofd * u, -bpd * v, bpd * v])


@given(
    centre=st.tuples(st.floats(0, 500), st.floats(0, 500)),
    along=st.floats(-4, 4),
    ofd=st.floats(1, 300),
    bpd=st.floats(-300, -1) | st.floats(1, 300),
)
@reproducible
def test_axes_that_are_those_of_an_ellipse_stay(centre, along, ofd, bpd):
    points = of_half_axes(centre, along, ofd, bpd)
    assert geometry.regularise_axes(points) == pytest.approx(points, abs=1e-9 * 1000)


def test_regularised_axes_are_the_nearest_of_all_directions():
    rng = np.random.default_rng(5)
    many = CROSS + rng.normal(0, 12, (40, 4, 2))
    fitted = geometry.regularise_axes(many)
    for points, result in zip(many, fitted, strict=True):
        middle = points.mean(axis=0)
        nearest = math.inf
        for along in np.linspace(0, math.pi, 7200, endpoint=False):
            u = np.array([math.cos(along), math.sin(along)])
            v = np.array([-u[1], u[0]])
            ofd, bpd = (points[1] - points[0]) @ u / 2, (points[3] - points[2]) @ v / 2
            nearest = min(nearest, ((points - of_half_axes(middle, along, ofd, bpd)) ** 2).sum())
        assert ((points - result) ** 2).sum() == pytest.approx(nearest, rel=1e-5)
        assert result.mean(axis=0) == pytest.approx(middle)
        assert result[:2].mean(axis=0) == pytest.approx(result[2:].mean(axis=0))
        assert (result[1] - result[0]) @ (result[3] - result[2]) == pytest.approx(0, abs=1e-8)


def test_swapped_ends_stay_swapped_and_no_axis_gets_longer():
    points = CROSS + np.random.default_rng(1).normal(0, 8, (30, 4, 2))
    fitted = geometry.regularise_axes(points)
    assert geometry.regularise_axes(points[:, [1, 0, 3, 2]]) == pytest.approx(fitted[:, [1, 0, 3, 2]])
    for first, second in ((0, 1), (2, 3)):
        before, after = (geometry.point_distance(p[:, first], p[:, second]) for p in (points, fitted))
        assert (after <= before + 1e-9).all()


@pytest.mark.parametrize(
    "points",
    [
        [(0, 0), (10, 0), (5, math.nan), (5, 5)],
        [(0, 0), (10, 0), (0, 5), (10, 5)],
        [(3, 3)] * 4,
    ],
)
def test_no_nearest_axes_are_nan(points):
    fitted = geometry.regularise_axes([points, CROSS])
    assert np.isnan(fitted[0]).all()
    assert fitted[1] == pytest.approx(CROSS)


@pytest.mark.parametrize(
    ("points", "problem"),
    [
        (CROSS, ""),
        (CROSS[[1, 0, 3, 2]], ""),
        (CROSS[[2, 3, 0, 1]], "BPD is longer than OFD (1.333 times)"),
        ([(0, 50), (120, 50), (60, 25), (60, 75)], "BPD is 0.417 of OFD, expected at least 0.5"),
        ([(0, 50), (120, 50), (120, 5), (120, 95)], "OFD and BPD do not cross in the middle half of each"),
        ([(0, 50), (120, 50), (60, 150), (60, 240)], "OFD and BPD do not cross in the middle half of each"),
        ([(0, 0), (100, 0), (10, -40), (90, 40)], "OFD and BPD enclose 45 degrees, expected at least 60"),
        ([(0, 0), (100, 0), (0, 10), (90, 10)], "OFD and BPD enclose 0 degrees, expected at least 60"),
        ([(0, 0), (0, 0), (0, 10), (90, 10)], ""),
        ([(0, 0), (100, 0), (math.nan, 10), (90, 10)], ""),
    ],
)
def test_what_four_points_can_be(points, problem):
    assert geometry.implausible_axes(points) == problem


def test_real_heads_are_plausible(shared_data):
    with open(shared_data / "hc18" / "labelled.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = [f"{axis}_{end}_{along}" for axis in ("ofd", "bpd") for end in (1, 2) for along in "xy"]
    points = np.array([[float(row[name]) for name in names] for row in rows]).reshape(-1, 4, 2)
    assert not any(map(geometry.implausible_axes, points))


# --- the direction of the head ---


def ellipse_at(centre, long, short, degrees):
    turn = np.radians(degrees)
    steps = np.linspace(0, 2 * np.pi, 120, endpoint=False)[:, None]
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    return np.array(centre) + long * np.cos(steps) * along + short * np.sin(steps) * across


@pytest.mark.parametrize("degrees", [-60, -20, 0, 35, 80])
def test_head_direction_is_the_angle_between_the_long_axes(degrees):
    """A level symphysis above the head: an axis that rises to the right, towards the mother's front, counts above 0."""
    head = ellipse_at((150, 150), 80, 60, -degrees)
    assert geometry.head_direction((140, 40), (60, 40), head) == pytest.approx(degrees, abs=0.1)
    mirrored = head * [-1, 1]
    assert geometry.head_direction((-140, 40), (-60, 40), mirrored) == pytest.approx(degrees, abs=0.1)
    turned = head[:, ::-1] * [1, -1]
    assert geometry.head_direction((40, -140), (40, -60), turned) == pytest.approx(degrees, abs=0.1)


def test_a_head_without_a_longest_axis_or_that_is_no_ellipse_has_no_direction():
    assert np.isnan(geometry.head_direction((140, 40), (60, 40), ellipse_at((150, 150), 80, 78, 0)))
    star = ellipse_at((150, 150), 80, 60, 0)
    star[::2] = 150 + (star[::2] - 150) * 0.3
    assert np.isnan(geometry.head_direction((140, 40), (60, 40), star))
    assert np.isnan(geometry.head_direction((60, 40), (60, 40), ellipse_at((150, 150), 80, 60, 0)))
