"""Equation 2 and the losses, against numbers worked out by hand and sums written out."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")

from aop_pose.inference import decode as heatmaps  # noqa: E402
from aop_pose.pipelines.fetusmap.landmarks import answer, encode, map_loss, peak_of  # noqa: E402

SIZE = (9, 8, 7)
POINTS = torch.tensor([[[4.2, 3.0, 2.7], [1.0, 6.0, 5.0]]], dtype=torch.float64)


def test_the_peak_of_equation_2():
    assert peak_of(2.0) == pytest.approx(1 / (math.sqrt(2 * math.pi) * 2) ** 3)
    # A map of equation 2 holds a mass of 1.
    whole = encode(torch.full((1, 1, 3), 12.0, dtype=torch.float64), (25, 25, 25), 2.0) * peak_of(2.0)
    assert float(whole.sum()) == pytest.approx(1, abs=1e-4)


def test_maps_are_those_of_the_shared_room():
    """``inference.decode`` names the last axis first."""
    expected = heatmaps.encode(POINTS.numpy()[..., ::-1], SIZE, 2.0)
    np.testing.assert_allclose(encode(POINTS, SIZE, 2.0), expected, atol=1e-12)


def test_a_missing_point_has_an_empty_map():
    points = POINTS.clone()
    points[0, 1] = math.nan
    assert encode(points, SIZE, 2.0)[0, 1].abs().sum() == 0


def test_the_softmax_of_the_logarithm_of_a_map_answers_with_the_map():
    targets = encode(torch.tensor([[[12.0, 12.0, 12.0]]]), (25, 25, 25), 2.0)
    found = answer((targets + 1e-30).log() + 3, "cross-entropy", 2.0)
    torch.testing.assert_close(found, targets, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(answer(targets, "mse", 2.0), targets)


def test_cross_entropy_is_equation_5_over_the_points():
    raw = torch.randn(1, 2, *SIZE, dtype=torch.float64)
    total = 0.0
    for point in range(2):
        voxels = [raw[0, point, i, j, k].item() for i in range(9) for j in range(8) for k in range(7)]
        norm = math.log(sum(math.exp(v) for v in voxels))
        places = [(i, j, k) for i in range(9) for j in range(8) for k in range(7)]
        for place, value in zip(places, voxels, strict=True):
            squared = sum((a - b) ** 2 for a, b in zip(place, POINTS[0, point].tolist(), strict=True))
            total -= (value - norm) * peak_of(2.0) * math.exp(-squared / 8)
    assert float(map_loss(raw, POINTS, "cross-entropy", 2.0)) == pytest.approx(total / 2, rel=1e-9)


def test_no_answer_has_less_cross_entropy_than_the_map_itself():
    targets = encode(POINTS, SIZE, 2.0)
    best = map_loss((targets + 1e-30).log(), POINTS, "cross-entropy", 2.0)
    for seed in range(5):
        other = (targets + 1e-30).log() + 0.1 * torch.randn(
            targets.shape, generator=torch.Generator().manual_seed(seed)
        )
        assert map_loss(other, POINTS, "cross-entropy", 2.0) > best


def test_a_point_without_a_label_teaches_nothing():
    points = POINTS.clone()
    points[0, 1] = math.nan
    for loss in ("mse", "cross-entropy"):
        raw = torch.randn(1, 2, *SIZE, dtype=torch.float64, requires_grad=True)
        map_loss(raw, points, loss, 2.0).backward()
        assert raw.grad[0, 1].abs().sum() == 0
        assert raw.grad[0, 0].abs().sum() > 0


def test_squared_error_is_the_sum_over_a_map_in_its_own_mass():
    raw = encode(POINTS, SIZE, 2.0)
    assert float(map_loss(raw, POINTS, "mse", 2.0)) == 0
    assert float(map_loss(raw + 1, POINTS, "mse", 2.0)) == pytest.approx(9 * 8 * 7 * peak_of(2.0))


def test_the_pair_loss_does_not_know_the_sides_apart():
    raw = torch.randn(1, 3, *SIZE, dtype=torch.float64)
    points = torch.tensor([[[4.0, 4, 3], [1, 2, 3], [6, 5, 4]]], dtype=torch.float64)
    sides = [((1,), (2,))]
    one = map_loss(raw, points, "cross-entropy", 2.0, sides)
    torch.testing.assert_close(one, map_loss(raw, points[:, [0, 2, 1]], "cross-entropy", 2.0, sides))
    assert not torch.isclose(
        map_loss(raw, points, "cross-entropy", 2.0), map_loss(raw, points[:, [0, 2, 1]], "cross-entropy", 2.0)
    )
