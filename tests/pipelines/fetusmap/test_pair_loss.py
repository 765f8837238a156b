"""The losses against sums written out voxel by voxel, and equation 7 against a fetus that stands upright."""

import math

import numpy as np
import pytest
import torch

from aop_pose.errors import UsageError
from aop_pose.geometry import first_is_left
from aop_pose.inference.volume_predictor import sides_order
from aop_pose.pipelines.fetusmap.landmarks import PAIRS, TRUNK, fetus_loss, log_probabilities, pair_loss


def maps(points=2, seed=0, size=(2, 3, 2)):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, points, *size, generator=generator, dtype=torch.float64)


def softmax(values):
    total = sum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def voxels(tensor):
    """(points, voxels) as lists."""
    return [channel.flatten().tolist() for channel in tensor[0]]


def slow_divergence(predicted, truth):
    return -sum(
        math.log(p) * g
        for values, wanted in zip(voxels(predicted), voxels(truth), strict=True)
        for p, g in zip(softmax(values), wanted, strict=True)
    )


def slow_pair_loss(pl, pr, gl, gr):
    first = min(
        slow_divergence(pl, gl) + slow_divergence(pr, gr),
        slow_divergence(pl, gr) + slow_divergence(pr, gl),
    )
    second = 0.0
    for left, right, truth_left, truth_right in zip(voxels(pl), voxels(pr), voxels(gl), voxels(gr), strict=True):
        for a, b, c, d in zip(softmax(left), softmax(right), truth_left, truth_right, strict=True):
            second -= math.log(a + b) * (c + d)
    return first + second


def fast(pl, pr, gl, gr):
    return pair_loss(log_probabilities(pl), log_probabilities(pr), gl, gr)


@pytest.mark.parametrize("seed", range(4))
def test_the_pair_loss_is_the_sum_written_out(seed):
    given = [maps(seed=10 * seed + part) for part in range(4)]
    assert fast(*given).item() == pytest.approx(slow_pair_loss(*given), rel=1e-12)


def test_the_whole_loss_is_that_of_the_arms_and_the_legs_and_of_the_trunk():
    predicted, truth = maps(22, 1), maps(22, 2)
    expected = slow_divergence(predicted[:, :10], truth[:, :10])
    for left, right in ((slice(10, 13), slice(13, 16)), (slice(16, 19), slice(19, 22))):
        expected += slow_pair_loss(predicted[:, left], predicted[:, right], truth[:, left], truth[:, right])
    assert fetus_loss(predicted, truth).item() == pytest.approx(expected, rel=1e-12)


def test_swapping_the_sides_changes_neither_the_loss_nor_the_gradient():
    predicted, truth = maps(22, 3).requires_grad_(), maps(22, 4)
    order = [*TRUNK, *(channel for left, right in PAIRS for channel in (*right, *left))]
    plain, swapped = fetus_loss(predicted, truth), fetus_loss(predicted, truth[:, order])
    assert plain.item() == pytest.approx(swapped.item(), rel=1e-12)
    gradients = [torch.autograd.grad(loss, predicted)[0] for loss in (plain, swapped)]
    assert torch.allclose(*gradients, rtol=1e-12)


def test_points_swapped_across_the_sides_cost_more_than_whole_sides_do():
    truth = torch.zeros(1, 4, 1, 1, 8, dtype=torch.float64)
    for channel in range(4):
        truth[0, channel, 0, 0, 2 * channel] = 1
    pairs = [((0, 1), (2, 3))]
    whole, mixed = truth[:, [2, 3, 0, 1]], truth[:, [2, 1, 0, 3]]
    right, swapped, crossed = (fetus_loss(9 * maps, truth, (), pairs) for maps in (truth, whole, mixed))
    assert right == pytest.approx(swapped)
    assert crossed > right + 1


def test_channels_that_are_missing_or_named_twice_are_refused():
    with pytest.raises(UsageError, match="pair loss: expected"):
        fetus_loss(maps(21), maps(21))
    with pytest.raises(UsageError, match="pair loss: expected"):
        fetus_loss(maps(2), maps(2), (0, 1), [((0,), (1,))])


def fetus():
    """Head up (+z), face forward (+y), so its left is towards -x: x, y, z in mm, right-handed."""
    points = np.zeros((22, 3))
    points[0], points[3], points[5] = (0, 0, 60), (0, 20, 45), (0, -15, 40)
    for (left, right), height in zip(PAIRS, (30, 0), strict=True):
        for step, (one, other) in enumerate(zip(left, right, strict=True)):
            points[one], points[other] = (
                (-10 - step, 3 * step, height - 8 * step),
                (10 + step, 2 * step, height - 5 * step),
            )
    return points


def rotations():
    generator = np.random.default_rng(0)
    for _ in range(6):
        turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        yield turn * np.sign(np.linalg.det(turn))


@pytest.mark.parametrize("turn", list(rotations()))
def test_left_is_left_however_the_fetus_lies(turn):
    points = fetus() @ turn.T + [5, -40, 12]
    crest, nose, neck = points[0], points[3], points[5]
    assert first_is_left(crest, nose, neck, points[10], points[13])
    assert not first_is_left(crest, nose, neck, points[13], points[10])


@pytest.mark.parametrize("change", [[-1, 1, 1], [1, 1, -1], None], ids=["x mirrored", "z mirrored", "z, y, x"])
def test_the_sign_turns_over_in_left_handed_arrays(change):
    points = fetus()[:, ::-1] if change is None else fetus() * change
    assert not first_is_left(points[0], points[3], points[5], points[10], points[13])


def test_sides_are_put_right_as_wholes():
    points = fetus()
    for (left, right), _ in zip(PAIRS, range(2), strict=True):
        swapped = points.copy()
        swapped[list(left)], swapped[list(right)] = points[list(right)], points[list(left)]
        assert np.array_equal(swapped[sides_order(swapped)], points)
    assert np.array_equal(points[sides_order(points)], points)


def test_without_the_head_nothing_is_moved():
    points = fetus()[:, :] * [-1, 1, 1]
    points[3] = np.nan
    assert np.array_equal(points[sides_order(points)], points, equal_nan=True)
