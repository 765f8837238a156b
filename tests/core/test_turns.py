"""The eight ways a picture can stand: back and forth, pixels and points alike."""

import numpy as np
import pytest

from aop_pose.core.frame import Frame
from aop_pose.core.turns import TURNS, UPRIGHT
from tests.fakes import textured


def test_there_are_eight_and_all_differ():
    matrices = {tuple(turn.linear.ravel().tolist()) for turn in TURNS}
    assert len(matrices) == len(TURNS) == 8
    assert UPRIGHT.words == ""


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: turn.words or "upright")
def test_pixels_and_points_go_there_and_back(turn):
    picture = textured(0, 40, 70)
    turned = turn.apply(picture)
    np.testing.assert_array_equal(turn.undo(turned), picture)
    places = np.array([[3, 5], [69, 39], [10, 0]])
    there = turn.points_back(places, turned.shape)
    whole = np.rint(there).astype(int)
    np.testing.assert_allclose(there, whole)
    np.testing.assert_array_equal(turned[whole[:, 1], whole[:, 0]], picture[places[:, 1], places[:, 0]])


def test_words_say_what_was_done():
    assert [turn.words for turn in TURNS if turn.quarters == 1] == [
        "turned by 90 degrees",
        "mirrored and turned by 90 degrees",
    ]
    assert next(turn for turn in TURNS if turn.mirrored).words == "mirrored"


def test_a_frame_turned_back_keeps_its_millimetres():
    turn = TURNS[1]
    given = Frame(turn.apply(textured(0, 40, 70)), spacing=(0.2, 0.5))
    upright = given.turned_back(turn)
    assert (upright.width, upright.height, upright.spacing) == (70, 40, (0.5, 0.2))
    assert Frame(given.pixels, aspect=2.0).turned_back(turn).aspect == 0.5
