"""Equations 8 and 11 to 17 against loops over pixels and numbers worked out by hand."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")

from aop_pose.inference.decode import encode  # noqa: E402
from aop_pose.pipelines.hrnet_gan.network import (  # noqa: E402
    adversarial_loss,
    coordinate_loss,
    discriminator_loss,
    entropy,
    heatmap_loss,
    shares_of,
)


@pytest.fixture
def maps():
    return np.random.default_rng(0).normal(size=(2, 3, 5, 7))


def pixels(maps):
    """Frame, point and the pixels (x, y, value) of each map."""
    for frame in range(len(maps)):
        for point in range(maps.shape[1]):
            height, width = maps.shape[2:]
            yield frame, point, [(x, y, maps[frame, point, y, x]) for y in range(height) for x in range(width)]


def test_coordinates_are_the_mean_place_of_what_is_positive(maps):
    found = shares_of(torch.from_numpy(maps), "relu").numpy()
    for frame, point, values in pixels(maps):
        total = sum(max(value, 0) for *_, value in values)
        x = sum(max(value, 0) * x for x, _, value in values) / total
        y = sum(max(value, 0) * y for _, y, value in values) / total
        np.testing.assert_allclose(found[frame, point], ((x + 0.5) / 7, (y + 0.5) / 5))


def test_coordinates_of_the_authors_are_the_mean_place_of_a_softmax(maps):
    found = shares_of(torch.from_numpy(maps), "softmax10").numpy()
    for frame, point, values in pixels(maps):
        total = sum(math.exp(10 * value) for *_, value in values)
        x = sum(math.exp(10 * value) * x for x, _, value in values) / total
        assert found[frame, point, 0] == pytest.approx((x + 0.5) / 7)


def test_a_perfect_map_returns_its_centre():
    points = np.random.default_rng(1).uniform(60, 450, (5, 3, 2))
    maps = torch.from_numpy(encode(points, (512, 512), 5.0)).float()
    found = shares_of(maps, "relu").numpy() * 512 - 0.5
    assert np.abs(found - points).max() < 0.05
    # Why the authors' rule is off by default.
    drawn = shares_of(maps, "softmax10").numpy() * 512 - 0.5
    assert np.abs(drawn - points).max() > 20


def test_an_empty_map_has_a_finite_place_and_gradient():
    maps = torch.full((1, 3, 8, 8), -1.0, requires_grad=True)
    shares = shares_of(maps, "relu")
    shares.sum().backward()
    assert torch.isfinite(shares).all()
    assert torch.isfinite(maps.grad).all()


def test_the_heatmap_loss_is_the_mean_over_points_and_pixels(maps):
    targets = np.random.default_rng(2).uniform(size=maps.shape)
    total = sum((value - targets[f, p, y, x]) ** 2 for f, p, values in pixels(maps) for x, y, value in values)
    found = heatmap_loss(torch.from_numpy(maps), torch.from_numpy(targets))
    assert float(found) == pytest.approx(total / (2 * 3 * 5 * 7))


def test_the_coordinate_loss_counts_the_points_that_are_seen():
    shares = torch.tensor([[[0.1, 0.2], [0.5, 0.5], [0.9, 0.1]]])
    targets = torch.tensor([[[0.4, 0.6], [0.5, 0.4], [0.0, 0.0]]])
    # 0.3^2 + 0.4^2 = 0.25 and 0.1^2 = 0.01; the third is not seen.
    assert float(coordinate_loss(shares, targets, torch.tensor([[1.0, 1.0, 0.0]]))) == pytest.approx(0.13)
    assert float(coordinate_loss(shares, targets, torch.zeros(1, 3))) == 0


def test_the_entropy_is_shannons(maps):
    total = 0.0
    for *_, values in pixels(maps):
        grown = [math.exp(value) for *_, value in values]
        shares = [value / sum(grown) for value in grown]
        total -= sum(share * math.log(share) for share in shares)
    assert float(entropy(torch.from_numpy(maps))) == pytest.approx(total / 6)
    assert float(entropy(torch.zeros(1, 3, 16, 16))) == pytest.approx(math.log(256))


def test_the_least_squares_losses_by_hand():
    real, fake = torch.tensor([0.5, 1.0]), torch.tensor([0.5, -1.0])
    # Equation 11: half of (0.25 + 0) / 2 and half of (0.25 + 1) / 2.
    assert float(discriminator_loss(real, fake, "lsgan")) == pytest.approx(0.0625 + 0.3125)
    # Equation 12: half of (0.25 + 4) / 2.
    assert float(adversarial_loss(fake, "lsgan")) == pytest.approx(1.0625)


def test_the_authors_losses_are_cross_entropies():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.0, 3.0])

    def share(score):
        return 1 / (1 + math.exp(-score))

    true = -(math.log(share(2)) + math.log(share(-1))) / 2
    false = -(math.log(1 - share(0)) + math.log(1 - share(3))) / 2
    assert float(discriminator_loss(real, fake, "bce")) == pytest.approx((true + false) / 2)
    assert float(adversarial_loss(fake, "bce")) == pytest.approx(-(math.log(share(0)) + math.log(share(3))) / 2)
