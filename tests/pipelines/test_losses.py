"""Losses against slow references, and against the numpy functions that say what maps mean."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")

from aop_pose.inference import decode as heatmaps  # noqa: E402
from aop_pose.pipelines.losses import (  # noqa: E402
    coordinate_error,
    cross_entropy,
    encode,
    least_over_swaps,
    soft_argmax,
    squared_error,
)

RNG = np.random.default_rng(0)


def test_torch_encodes_as_numpy_does():
    points = RNG.uniform(-0.5, 15.5, (2, 3, 2))
    points[0, 1] = np.nan
    made = encode(torch.from_numpy(points), 16, 1.7)
    np.testing.assert_allclose(made.numpy(), heatmaps.encode(points, (16, 16), 1.7), atol=1e-12)


def test_torch_soft_argmax_is_numpys_and_has_a_gradient():
    maps = RNG.random((2, 3, 9, 9))
    tensor = torch.from_numpy(maps).requires_grad_()
    found = soft_argmax(tensor)
    np.testing.assert_allclose(found.detach().numpy(), heatmaps.decode(maps, "soft-argmax"), atol=1e-12)
    found.sum().backward()
    assert tensor.grad.abs().sum() > 0


def test_squared_error_is_equation_2():
    maps, targets = RNG.random((2, 3, 4, 4)), RNG.random((2, 3, 4, 4))
    slow = np.zeros((2, 3))
    for n, k, y, x in itertools.product(range(2), range(3), range(4), range(4)):
        slow[n, k] += (maps[n, k, y, x] - targets[n, k, y, x]) ** 2 / 16
    np.testing.assert_allclose(squared_error(torch.from_numpy(maps), torch.from_numpy(targets)).numpy(), slow)


def test_cross_entropy_is_its_definition_and_least_where_the_softmax_is_the_target():
    logits, targets = RNG.normal(size=(1, 2, 3, 3)), RNG.random((1, 2, 3, 3))
    targets[0, 1] = 0
    q = targets[0, 0] / targets[0, 0].sum()
    p = np.exp(logits[0, 0]) / np.exp(logits[0, 0]).sum()
    found = cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets))
    np.testing.assert_allclose(found.numpy(), [[-(q * np.log(p)).sum(), 0.0]])
    best = cross_entropy(torch.from_numpy(np.log(targets[:, :1])), torch.from_numpy(targets[:, :1]))
    assert float(best) < float(found[0, 0])


def test_coordinate_error_by_hand():
    found = coordinate_error(torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[0.0, 0.0]]]))
    assert found.tolist() == [[25.0]]


def slow_least(prediction, target, pairs, weights):
    """Every assignment of every frame, by brute force."""
    total = 0.0
    for frame in range(len(prediction)):
        costs = []
        for swaps in itertools.product([False, True], repeat=len(pairs)):
            order = list(range(prediction.shape[1]))
            for (first, second), swap in zip(pairs, swaps, strict=True):
                if swap:
                    order[first], order[second] = second, first
            errors = ((prediction[frame] - target[frame, order]) ** 2).sum(axis=1)
            costs.append((errors * weights[frame, order]).sum())
        total += min(costs)
    return total / weights.sum()


def test_the_least_over_swaps_is_that_of_all_assignments():
    prediction, target = RNG.normal(size=(5, 5, 2)), RNG.normal(size=(5, 5, 2))
    weights = np.ones((5, 5))
    weights[1, 0] = weights[2, 4] = 0
    pairs = [(0, 1), (2, 4)]
    found = least_over_swaps(
        coordinate_error, *map(torch.from_numpy, (prediction, target)), pairs, torch.from_numpy(weights)
    )
    assert float(found) == pytest.approx(slow_least(prediction, target, pairs, weights))


def test_a_swap_of_labels_changes_nothing():
    maps = torch.from_numpy(RNG.random((3, 4, 8, 8)))
    targets = torch.from_numpy(RNG.random((3, 4, 8, 8)))
    swapped = targets.clone()
    swapped[1] = targets[1][[1, 0, 2, 3]]
    swapped[2] = targets[2][[1, 0, 3, 2]]
    weights, pairs = torch.ones(3, 4), [(0, 1), (2, 3)]
    one = least_over_swaps(squared_error, maps, targets, pairs, weights)
    other = least_over_swaps(squared_error, maps, swapped, pairs, weights)
    torch.testing.assert_close(one, other)
    assert float(one) < float(squared_error(maps, targets).mean())


def test_without_pairs_it_is_the_mean():
    maps, targets = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    found = least_over_swaps(squared_error, maps, targets, [], torch.ones(2, 3))
    torch.testing.assert_close(found, ((maps - targets) ** 2).mean())
