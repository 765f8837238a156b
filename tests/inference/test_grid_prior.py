"""The prior of place: densities by hand, sides without names, and that it only weighs."""

import numpy as np
import pytest

from aop_pose.inference.grid import LEAST_MM, PlacePrior, place_prior

ONE = ((100.0, 0.0, 0.0), (0.0, 400.0, 0.0), (0.0, 0.0, 25.0))


def test_maps_are_weighed_by_the_density():
    prior = PlacePrior(strength=0.5, means=[(10, 0, -5)], covariances=[ONE])
    weighed = prior.weigh(np.ones((1, 5, 3, 3), np.float32), 5.0, np.array([2, 1, 1]))
    # The middle is voxel (2, 1, 1); the mean lies two voxels along i and one back along k.
    assert weighed[0, 4, 1, 0] == weighed.max() == 1
    # 20 mm off along i, 5 along j, 10 along k: squared 4 + 1/16 + 4, by half the strength.
    assert weighed[0, 0, 0, 2] == pytest.approx(np.exp(-0.25 * (4 + 1 / 16 + 4)))
    assert weighed.dtype == np.float32
    # A grid that was moved a voxel along i and half a one back along k sees the same places.
    moved = prior.weigh(np.ones((1, 5, 3, 3), np.float32), 5.0, np.array([1, 1, 1.5]))
    assert moved[0, 3, 1, 0] / moved[0, 3, 1, 1] == pytest.approx(1)
    assert moved[0, 0, 1, 0] / moved[0, 3, 1, 0] == pytest.approx(np.exp(-0.25 * 2.25))


def test_means_and_spread_are_those_of_the_labels():
    draw = np.random.default_rng(0)
    points = draw.normal([[0, 50, 0], [10, 0, -20]], 30, (400, 2, 3))
    points[5, 1] = np.nan
    prior = place_prior(list(points), 1.0)
    np.testing.assert_allclose(prior.means, [[0, 50, 0], [10, 0, -20]], atol=6)
    np.testing.assert_allclose([np.diag(c) for c in prior.covariances], 900 + LEAST_MM**2, rtol=0.25)


def test_sides_without_names_have_one_place():
    points = [np.array([[0.0, 0, 0], [10, 0, 0], [30, 4, 0]]), np.array([[2.0, 0, 0], [34, 0, 4], [14, 0, 0]])]
    prior = place_prior(points, 0.5, unsided=[((1,), (2,))])
    assert prior.means[1] == prior.means[2] == (22, 1, 1)
    assert prior.covariances[1] == prior.covariances[2]
    assert place_prior(points, 0.5).means[1:] == [(22, 0, 2), (22, 2, 0)]


def test_one_label_is_no_place():
    points = [np.array([[0.0, 0, 0], [10, 0, 0]]), np.array([[2.0, 0, 0], [np.nan] * 3])]
    assert place_prior(points, 1.0) is None
