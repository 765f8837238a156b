"""Several looks at one picture: where a turned picture shows a place, and the mean of what is found."""

import cv2
import numpy as np
import pytest

from aop_pose.core.keypoints import Keypoints, Prediction
from aop_pose.core.schemas import HEAD
from aop_pose.trust.passes import TURNS, Passes, mean_look, turn
from tests.fakes import prediction

POINTS = np.array([[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]])


@pytest.mark.parametrize(("degrees", "scale"), [(0.0, 1.0), *TURNS])
def test_the_map_back_leads_to_where_a_turned_picture_shows_a_place(degrees, scale):
    place = np.array([60.0, 70.0])
    picture = np.zeros((128, 160), np.uint8)
    cv2.circle(picture, (60, 70), 5, 255, -1)
    turned, back = turn(picture, degrees, scale)
    rows, columns = np.mgrid[:128, :160]
    shown = np.array([(columns * turned.astype(float)).sum(), (rows * turned.astype(float)).sum()]) / turned.sum()
    assert back[:, :2] @ shown + back[:, 2] == pytest.approx(place, abs=0.15)


def test_a_picture_that_is_not_turned_is_the_same():
    picture = np.random.default_rng(0).integers(0, 256, (31, 47), dtype=np.uint8)
    turned, back = turn(picture, 0.0, 1.0)
    assert np.array_equal(turned, picture)
    assert back == pytest.approx(np.eye(2, 3))


def test_the_mean_of_looks_is_that_of_their_points_and_keeps_the_score_of_the_first():
    looks = [prediction(POINTS, 0.8), prediction(POINTS + 3, 0.5), Prediction(None, 0.1, "nothing")]
    mean = mean_look(looks)
    assert mean.found.coords == pytest.approx(POINTS + 1.5)
    assert mean.score == 0.8
    assert Passes(looks[0], None, 1).measured is looks[0]


def test_a_point_that_a_look_did_not_find_does_not_count():
    gone = POINTS.copy()
    gone[1] = np.nan
    mean = mean_look([prediction(POINTS, 0.8), prediction(gone + 2, 0.8)]).found.coords
    assert mean - POINTS == pytest.approx(np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]))
    nothing = mean_look([prediction(gone, 0.8), prediction(POINTS, 0.8)]).found.coords
    assert np.isnan(nothing[1]).all()


def test_ends_that_have_no_names_are_taken_in_the_order_of_the_first_look():
    ends = np.array([(0.0, 50.0), (100.0, 50.0), (50.0, 10.0), (50.0, 90.0)])
    first, swapped = (Prediction(Keypoints.from_points(HEAD, coords), 1.0) for coords in (ends, ends[[1, 0, 2, 3]] + 2))
    assert mean_look([first, swapped]).found.coords == pytest.approx(ends + 1)
