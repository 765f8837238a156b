"""What scanners and people leave on a frame, and other looks of it: same draw, same picture; any size, any points."""

import time

import numpy as np
import pytest

from aop_pose.phantom.burnt_in import BURNT_IN, UNSEEN_BURNT_IN
from aop_pose.phantom.looks import LOOKS, cut
from tests.fakes import POINTS, textured

MARKS = {**BURNT_IN, **UNSEEN_BURNT_IN}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", MARKS)
def test_a_mark_is_drawn_into_a_new_picture_and_follows_from_the_draw(kind):
    picture = textured(0)
    before = picture.copy()
    marked = MARKS[kind](picture, POINTS, rng(3))
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(marked, MARKS[kind](picture, POINTS, rng(3)))
    changed = (marked != before).mean()
    assert 0 < changed < 0.5
    assert (marked.dtype, marked.shape) == (np.uint8, picture.shape)


@pytest.mark.parametrize("kind", MARKS)
@pytest.mark.parametrize("points", [np.full((3, 2), np.nan), POINTS + 1e5, POINTS[:1]], ids=["none", "outside", "one"])
def test_points_that_are_unknown_or_outside_are_no_error(kind, points):
    for seed in range(5):
        assert MARKS[kind](textured(0, 40, 64), points, rng(seed)).shape == (40, 64)


def test_no_kind_is_kept_for_tests_and_shown():
    assert len(UNSEEN_BURNT_IN) == 2
    assert not set(BURNT_IN) & set(UNSEEN_BURNT_IN)


def test_a_drawn_angle_does_not_give_the_answer_away():
    """The rays are scattered about the points: their corner is not where PS1 is."""
    from aop_pose.phantom.burnt_in import _near

    offsets = np.array([_near(POINTS[0], textured(0), rng(seed)) - POINTS[0] for seed in range(200)])
    assert np.median(np.linalg.norm(offsets, axis=1)) > 8


@pytest.mark.parametrize("kind", [name for name in LOOKS if name not in ("zoom", "photograph")])
def test_a_look_changes_gray_values_and_no_point(kind):
    picture = textured(0)
    shown, points = LOOKS[kind](picture, POINTS, rng(1))
    assert (shown.shape, shown.dtype) == (picture.shape, np.uint8)
    assert (shown != picture).any()
    np.testing.assert_array_equal(points, POINTS)


@pytest.mark.parametrize("kind", ["zoom", "photograph"])
def test_points_move_with_the_picture(kind):
    rows, columns = np.mgrid[:256, :256]
    dots = sum(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18) for x, y in POINTS)
    picture = (255 * np.clip(dots, 0, 1)).astype(np.uint8)
    for seed in range(4):
        shown, points = LOOKS[kind](picture, POINTS, rng(seed))
        for x, y in points:
            near = np.where((columns - x) ** 2 + (rows - y) ** 2 < 81, shown.astype(float), 0)
            near = np.clip(near - 0.7 * near.max(), 0, None)
            found = (near * columns).sum() / near.sum(), (near * rows).sum() / near.sum()
            np.testing.assert_allclose(found, (x, y), atol=2)


def test_unknown_points_stay_unknown():
    for look in (*LOOKS.values(), cut):
        assert np.isnan(look(textured(0), np.full((3, 2), np.nan), rng())[1]).all()


def test_black_stays_black_under_another_gain():
    picture = textured(0)
    picture[:80] = 0
    for seed in range(10):
        assert not LOOKS["gain"](picture, POINTS, rng(seed))[0][:80].any()


def test_a_cut_keeps_the_points_and_takes_the_dark_away():
    picture = np.pad(textured(0, 200, 200), 100)
    for seed in range(5):
        small, points = cut(picture, POINTS + 100, rng(seed))
        assert min(small.shape) > 180
        assert max(small.shape) < 240
        x, y = np.rint(points[0]).astype(int)
        assert small[y, x] == picture[160, 250]
    dark = np.zeros((50, 60), np.uint8)
    assert cut(dark, POINTS, rng())[0] is dark


def test_all_kinds_together_take_a_few_milliseconds_a_frame():
    picture, begin = textured(0), time.process_time()
    for kind in MARKS.values():
        kind(picture, POINTS, rng())
    for look in LOOKS.values():
        look(picture, POINTS, rng())
    assert (time.process_time() - begin) / (len(MARKS) + len(LOOKS)) < 0.02
