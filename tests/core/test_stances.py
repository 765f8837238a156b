"""The eight ways a picture can stand: back and forth, pixels and points alike."""

import numpy as np
import pytest

from aop_pose.core.frame import Frame
from aop_pose.core.stances import STANCES, UPRIGHT
from tests.fakes import textured


def test_there_are_eight_and_all_differ():
    matrices = {tuple(stance.linear.ravel().tolist()) for stance in STANCES}
    assert len(matrices) == len(STANCES) == 8
    assert UPRIGHT.words == ""


@pytest.mark.parametrize("stance", STANCES, ids=lambda stance: stance.words or "upright")
def test_pixels_and_points_go_there_and_back(stance):
    picture = textured(0, 40, 70)
    turned = stance.apply(picture)
    np.testing.assert_array_equal(stance.undo(turned), picture)
    places = np.array([[3, 5], [69, 39], [10, 0]])
    there = stance.points_back(places, turned.shape)
    whole = np.rint(there).astype(int)
    np.testing.assert_allclose(there, whole)
    np.testing.assert_array_equal(turned[whole[:, 1], whole[:, 0]], picture[places[:, 1], places[:, 0]])


def test_words_say_what_was_done():
    assert [stance.words for stance in STANCES if stance.quarters == 1] == [
        "turned by 90 degrees",
        "mirrored and turned by 90 degrees",
    ]
    assert next(stance for stance in STANCES if stance.mirrored).words == "mirrored"


def test_a_frame_turned_back_keeps_its_millimetres():
    stance = STANCES[1]
    given = Frame(stance.apply(textured(0, 40, 70)), spacing=(0.2, 0.5))
    upright = given.turned_back(stance)
    assert (upright.width, upright.height, upright.spacing) == (70, 40, (0.5, 0.2))
    assert Frame(given.pixels, aspect=2.0).turned_back(stance).aspect == 0.5
