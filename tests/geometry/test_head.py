"""Head biometry against known ellipses and numbers worked out by hand."""

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
