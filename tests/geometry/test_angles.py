"""The angle of progression and its sensitivity."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aop_pose import geometry

from .strategies import movement, point, reproducible


def apart(*points: np.ndarray) -> bool:
    return all(np.hypot(*(a - b)) > 1 for i, a in enumerate(points) for b in points[:i])


@st.composite
def three_points(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return draw(st.tuples(point, point, point).filter(lambda points: apart(*points)))


@pytest.mark.parametrize(
    ("ps1", "ps2", "fh1", "degrees"),
    [
        ((0, 0), (-1, 0), (0, 1), 90),
        ((0, 0), (-1, 0), (1, 0), 180),
        # The tangent lies above the prolonged symphysis, here and in the mirror.
        ((0, 0), (-1, 0), (1, -0.9), 180 + math.degrees(math.atan(0.9))),
        ((0, 0), (1, 0), (-1, -math.tan(math.radians(20))), 200),
        # Farther than any head: the symphysis points the other way.
        ((0, 0), (-1, 0), (0, -1), 90),
        # On an upright symphysis the head says which side is deep.
        ((0, 0), (0, 1), (1, 0), 90),
        ((0, 0), (0, 1), (-1, -1), 135),
        ((0, 0), (0, 0), (1, 0), math.nan),
    ],
)
def test_turn_worked_out_by_hand(ps1, ps2, fh1, degrees):
    turn = geometry.turn_of_progression(ps1, ps2, fh1)
    assert turn == pytest.approx(degrees, abs=1e-12, nan_ok=True)
    folded = geometry.angle_of_progression(ps1, ps2, fh1)
    assert geometry.angle_of_turn(turn) == pytest.approx(folded, abs=1e-12, nan_ok=True)


def test_two_readings_on_both_sides_of_180_degrees_differ_by_what_lies_between_them():
    """FH1 ten degrees below and ten above the prolonged symphysis: angles of 170 both, turns of 170 and 190."""
    below, above = (np.array([(0, 0), (-1, 0), (np.cos(a), np.sin(a))]) for a in np.radians([10, -10]))
    assert geometry.angle_of_progression(*below) == pytest.approx(geometry.angle_of_progression(*above))
    assert geometry.turn_difference(above, below) == pytest.approx(20)
    assert geometry.turn_difference(below, above) == pytest.approx(-20)
    mirrored = [points * [-1, 1] for points in (above, below)]
    assert geometry.turn_difference(*mirrored) == pytest.approx(20)
    straight = np.array([(0, 0), (-1, 0), (1, 0)])
    assert geometry.turn_difference([above, straight], [straight, straight]) == pytest.approx([10, 0])


@given(three_points(), three_points())
def test_a_difference_of_turns_is_that_of_angles_where_neither_is_folded(one, other):
    turns = geometry.turn_of_progression(*one, like=np.stack(other)), geometry.turn_of_progression(*other)
    assume(all(1 < turn < 179 for turn in turns))
    angles = geometry.angle_of_progression(*one) - geometry.angle_of_progression(*other)
    assert geometry.turn_difference(np.stack(one), np.stack(other)) == pytest.approx(angles, abs=1e-6)


@pytest.mark.parametrize(
    ("ps1", "ps2", "fh1", "degrees"),
    [
        ((0, 0), (-1, 0), (0, 1), 90),
        ((0, 0), (-1, 0), (1, 1), 135),
        ((0, 0), (-1, 0), (1, 0), 180),
        ((0, 0), (-1, 0), (-7, 0), 0),
        ((0, 0), (-2, 0), (-1, math.sqrt(3)), 60),
        ((10, 20), (7, 24), (14, 23), 90),
        # The tangent lies above the prolonged symphysis: the turn is 225 degrees, the AoP 135.
        ((0, 0), (-1, 0), (1, -1), 135),
    ],
)
def test_angle_worked_out_by_hand(ps1, ps2, fh1, degrees):
    assert geometry.angle_of_progression(ps1, ps2, fh1) == pytest.approx(degrees, abs=1e-12)


@pytest.mark.parametrize("exponent", range(8, 40, 4))
@pytest.mark.parametrize("opposite", [False, True])
def test_angle_keeps_its_digits_near_0_and_180(exponent, opposite):
    # All coordinates are exact: FH1 is 256 along (4, 3) and t across it, so that tan(angle) = t / 256.
    t = 2.0**-exponent
    along, across = np.array([4.0, 3.0]), np.array([-3.0, 4.0])
    fh1 = 256 * along + t * across
    assert [Fraction(v) for v in fh1] == [
        256 * Fraction(4) - 3 * Fraction(t),
        256 * Fraction(3) + 4 * Fraction(t),
    ]
    small = math.degrees(math.atan(t / 256))
    ps2 = along * (-1000 if opposite else 1000)
    angle = geometry.angle_of_progression((0, 0), ps2, fh1)
    assert abs(angle - (180 - small if opposite else small)) < 1e-13 * (180 if opposite else 1)


def test_angle_over_leading_axes_equals_one_by_one():
    points = np.random.default_rng(0).normal(size=(4, 5, 3, 2))
    ps1, ps2, fh1 = points[..., 0, :], points[..., 1, :], points[..., 2, :]
    angles = geometry.angle_of_progression(ps1, ps2, fh1)
    slopes = geometry.aop_sensitivity(ps1, ps2, fh1)
    assert angles.shape == (4, 5)
    assert slopes.shape == (4, 5, 3)
    for place in np.ndindex(4, 5):
        assert angles[place] == geometry.angle_of_progression(*points[place])
        assert (slopes[place] == geometry.aop_sensitivity(*points[place])).all()
    assert geometry.angle_of_progression(ps1[0, 0], ps2[0], fh1[0]).shape == (5,)


@given(
    points=three_points(),
    turn=st.floats(0, 2 * math.pi),
    scale=st.floats(0.01, 100),
    shift=point,
    mirror=st.booleans(),
)
@reproducible
def test_angle_is_unchanged_by_rotation_scale_translation_and_mirror(points, turn, scale, shift, mirror):
    move = movement(turn, scale, mirror)
    moved = [move @ p + shift for p in points]
    # The rounding of the shifted coordinates limits what can be asked of short rays.
    tolerance = 1e-6
    assert geometry.angle_of_progression(*moved) == pytest.approx(geometry.angle_of_progression(*points), abs=tolerance)
    assert geometry.aop_sensitivity(*moved) * scale == pytest.approx(
        geometry.aop_sensitivity(*points), rel=1e-6, abs=tolerance
    )


@given(points=three_points())
@reproducible
def test_exchanging_the_rays_keeps_the_angle_and_prolonging_one_gives_the_supplement(points):
    ps1, ps2, fh1 = points
    angle = geometry.angle_of_progression(ps1, ps2, fh1)
    assert 0 <= angle <= 180
    assert geometry.angle_of_progression(ps1, fh1, ps2) == angle
    assert geometry.angle_of_progression(ps1, 2 * ps1 - ps2, fh1) == pytest.approx(180 - angle, abs=1e-9)


@pytest.mark.parametrize("formula", [geometry.angle_of_progression, geometry.aop_sensitivity])
@pytest.mark.parametrize(
    "points",
    [
        ((1, 1), (1, 1), (5, 5)),
        ((1, 1), (5, 5), (1, 1)),
        ((1, 1), (1, 1), (1, 1)),
        ((math.nan, 0), (1, 1), (2, 5)),
        ((0, 0), (1, math.nan), (2, 5)),
        ((0, 0), (1, 1), (math.inf, 5)),
        ((0, 0), (1e200, 1e200), (-1e200, 1e200)),
        ((0, 0), (1e-200, 0), (0, 1e-200)),
    ],
)
def test_no_angle_is_nan_and_silent(formula, points):
    assert np.isnan(formula(*points)).all()
    good = [(0, 0), (-1, 0), (0, 1)]
    beside_a_good_one = formula(*(np.array(pair) for pair in zip(points, good, strict=True)))
    assert np.isnan(beside_a_good_one[0]).all()
    assert np.isfinite(beside_a_good_one[1]).all()


def test_sensitivity_worked_out_by_hand():
    # Rays of 10 and 20 pixels at a right angle; the chord is sqrt(500).
    radians = [math.sqrt(500) / 200, 1 / 10, 1 / 20]
    assert geometry.aop_sensitivity((0, 0), (-10, 0), (0, 20)) == pytest.approx(np.degrees(radians))


@given(points=three_points())
@reproducible
def test_sensitivity_is_the_gradient_norm_by_finite_differences(points):
    angle = geometry.angle_of_progression(*points)
    step = 1e-4
    if not 0.5 < angle < 179.5:
        return  # the fold at 0 and 180 degrees has no derivative
    expected = []
    for moved in range(3):
        slopes = []
        for axis in range(2):
            ahead, behind = np.array(points), np.array(points)
            ahead[moved, axis] += step
            behind[moved, axis] -= step
            difference = geometry.angle_of_progression(*ahead) - geometry.angle_of_progression(*behind)
            slopes.append(difference / (2 * step))
        expected.append(math.hypot(*slopes))
    assert geometry.aop_sensitivity(*points) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_sensitivity_predicts_the_spread_of_simulated_errors():
    points = np.array([(138.0, 36.0), (58.0, 61.0), (200.0, 66.0)])
    sigma = np.array([0.4, 0.6, 0.5])
    errors = np.random.default_rng(0).normal(size=(40_000, 3, 2)) * sigma[:, None]
    spread = geometry.angle_of_progression(*np.moveaxis(points + errors, 1, 0)).std()
    predicted = math.hypot(*(geometry.aop_sensitivity(*points) * sigma))
    assert spread == pytest.approx(predicted, rel=0.02)


@reproducible
@given(points=three_points())
def test_the_gradient_is_the_slope_of_the_angle(points):
    points = np.array(points, dtype=np.float64)
    assume(2 < geometry.angle_of_progression(*points) < 178)
    gradient, step = geometry.aop_gradient(*points), 1e-4
    for landmark in range(3):
        for axis in range(2):
            moved = np.stack([points, points])
            moved[:, landmark, axis] += [-step, step]
            before, after = (geometry.angle_of_progression(*one) for one in moved)
            assert gradient[landmark, axis] == pytest.approx((after - before) / (2 * step), rel=1e-3, abs=1e-4)
