"""Noise: what it does to points is undone exactly, and it is what its numbers say."""

import cv2
import numpy as np
import pytest

from aop_pose.pseudo.signals import Noise, draw

STILL = Noise(shift=0, rotation=0, scale=0, gamma=0, speckle=0)


def spots(points, shape=(120, 160)):
    picture = np.zeros(shape, np.float32)
    for x, y in points:
        picture[y, x] = 255
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 2) * 24, 0, 255).astype(np.uint8)


def centre(picture, near):
    """Centre of mass around a place, as (x, y)."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    near_by = picture * ((x - near[0]) ** 2 + (y - near[1]) ** 2 < 100)
    return np.array([(near_by * x).sum(), (near_by * y).sum()]) / near_by.sum()


@pytest.mark.parametrize("seed", range(5))
def test_a_point_seen_on_the_disturbed_picture_goes_back_to_where_it_was(seed):
    points = np.array([[50, 40], [100, 80]])
    disturbance = draw(Noise(gamma=0, speckle=0), (120, 160), np.random.default_rng(seed))
    disturbed = disturbance.apply(spots(points))
    there = points @ disturbance.matrix[:, :2].T + disturbance.matrix[:, 2]
    seen = np.array([centre(disturbed, place) for place in there])
    assert np.abs(seen - points).max() > 0.5
    np.testing.assert_allclose(disturbance.undo(seen), points, atol=0.1)


def test_no_noise_changes_nothing():
    picture = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)
    disturbance = draw(STILL, picture.shape, np.random.default_rng(1))
    np.testing.assert_array_equal(disturbance.apply(picture), picture)
    np.testing.assert_allclose(disturbance.undo(np.array([[3.0, 4.0]])), [[3, 4]], atol=1e-9)


def test_draws_stay_within_their_bounds_and_follow_from_the_generator():
    noise = Noise(shift=0.1, rotation=0, scale=0, speckle=0, gamma=0.2)
    drawn = [draw(noise, (100, 200), np.random.default_rng(seed)) for seed in range(50)]
    shifts = np.array([one.matrix[:, 2] for one in drawn])
    assert 15 < np.abs(shifts).max() <= 20
    assert all(np.exp(-0.2) <= one.exponent <= np.exp(0.2) for one in drawn)
    np.testing.assert_array_equal(draw(noise, (100, 200), np.random.default_rng(7)).matrix, drawn[7].matrix)


def test_speckle_has_the_strength_that_was_asked_for():
    gray = np.full((200, 200), 100, np.uint8)
    noise = Noise(shift=0, rotation=0, scale=0, gamma=0, speckle=0.15)
    disturbed = draw(noise, gray.shape, np.random.default_rng(0)).apply(gray)
    assert disturbed.std() == pytest.approx(15, rel=0.05)
    assert disturbed.mean() == pytest.approx(100, abs=1.5)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_a_strength_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match="shift: expected a number from 0 on"):
        Noise(shift=value)
