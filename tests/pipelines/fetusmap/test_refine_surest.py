"""Refinement that trusts the points with the highest peaks in place of the paper's."""

import numpy as np
import torch

from aop_pose.inference.decode import encode
from aop_pose.pipelines.fetusmap.config import RefineSettings
from aop_pose.pipelines.fetusmap.library import PoseLibrary
from tests.pipelines.fetusmap.test_refine import SIGMA, SIZE, Maps, refined, to_mm, voxel_points


def test_points_with_high_peaks_stay_and_the_others_move():
    """Maps of points 1 to 5 are three times as wide, so that their peaks are low: the paper's 2, 3 and 5 among them."""
    points = voxel_points()
    pose = points.copy()
    pose[:5] += [0, 2.0, 0]
    Maps.seen = []
    network = Maps(points)
    wide = np.log(np.maximum(encode(points[:5, ::-1], SIZE, 3 * SIGMA), 1e-6))
    network.raw.data[0, :5] = torch.from_numpy(wide).float()
    settings = RefineSettings(steps=40, lr=0.2, on="surest")
    found = refined(network, PoseLibrary(to_mm(pose)[None]), settings=settings)
    assert found.prior.refined == (0, 1, 2, 3, 4)
    np.testing.assert_allclose(found.prior.errors, 0, atol=0.1)
    np.testing.assert_allclose(found.moved[:5], 2.0, atol=0.4)
    assert np.array_equal(found.points[5:], found.before[5:])
