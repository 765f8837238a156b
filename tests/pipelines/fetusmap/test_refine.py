"""Refinement: equation 11 and Adam's steps against numpy, and a network that is never changed."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from aop_pose.core.schemas import FETAL_FACE, FETUS
from aop_pose.errors import UsageError
from aop_pose.inference.decode import decode, encode
from aop_pose.pipelines.fetusmap.config import RefineSettings
from aop_pose.pipelines.fetusmap.library import AMBIGUOUS, STABLE, PoseLibrary
from aop_pose.pipelines.fetusmap.network import UNet3d
from aop_pose.pipelines.fetusmap.planner import plan_memory
from aop_pose.pipelines.fetusmap.refine import refine

SIZE = (14, 16, 18)
PAPER = RefineSettings(on="paper")
SIGMA = 1.5
VOLUME = torch.zeros(1, 1, *SIZE)
# Voxels of 2 mm, the axes turned, as a file may have them.
AFFINE = np.array([[0, -2, 0, 30.0], [2, 0, 0, -12], [0, 0, 2, 7], [0, 0, 0, 1]])


def to_mm(voxels):
    return voxels @ AFFINE[:3, :3].T + AFFINE[:3, 3]


def read(maps):
    return decode(maps, "subpixel", 3)[:, ::-1]


def voxel_points(seed=0):
    return np.random.default_rng(seed).uniform(4, 10, size=(22, 3))


class Maps(nn.Module):
    """Gives its own parameter, whatever the volume: maps that peak at ``points``, as they are before the softmax."""

    seen: list[np.ndarray]

    def __init__(self, points):
        super().__init__()
        maps = encode(points[:, ::-1], SIZE, SIGMA)
        self.raw = nn.Parameter(torch.from_numpy(np.log(np.maximum(maps, 1e-6)))[None].float())

    def forward(self, volume):
        type(self).seen.append(self.raw.detach().numpy().copy())
        return self.raw + 0 * volume.mean()


@pytest.fixture(autouse=True)
def nothing_seen():
    Maps.seen = []


def shifted_library(points, shift):
    """One pose: the predicted one with the ambiguous points so many voxels off."""
    pose = points.copy()
    pose[list(AMBIGUOUS)] += shift
    return PoseLibrary(to_mm(pose)[None])


def refined(network, library, **changes):
    changes = {"read": read, "sigma": SIGMA, "settings": PAPER, **changes}
    return refine(network, changes.pop("volume", VOLUME), AFFINE, library, FETUS, **changes)


def softmax_maps(raw):
    """H of the prediction: the softmax over the voxels, in the units of maps that peak at 1."""
    exponent = np.exp(raw - raw.max(axis=(-3, -2, -1), keepdims=True))
    return exponent / exponent.sum(axis=(-3, -2, -1), keepdims=True) * (np.sqrt(2 * np.pi) * SIGMA) ** 3


def slow_loss(raw, labels):
    """Equation 11, summed over voxels, for maps that peak at 1, times the peak of equation 2."""
    maps, total = softmax_maps(raw.astype(np.float64)), 0.0
    for point in (0, 3, 5, 7, 9):
        total += ((encode(labels[point][None, ::-1], SIZE, SIGMA)[0] - maps[point]) ** 2).sum()
    return total / 5 / (np.sqrt(2 * np.pi) * SIGMA) ** 3


def test_the_loss_is_equation_11_and_the_label_lies_halfway():
    points, shift = voxel_points(), np.array([0.0, 1.0, -2.0])
    network = Maps(points)
    found = refined(network, shifted_library(points, shift))
    labels = points + shift / 2
    for point in range(22):
        expected = to_mm(labels[point]) if point in AMBIGUOUS else np.full(3, np.nan)
        np.testing.assert_allclose(found.prior.labels[point], expected, atol=0.02)  # the prediction is read from maps
    assert found.losses[0] == pytest.approx(slow_loss(network.raw[0].detach().numpy(), labels), rel=0.02)


def test_eight_steps_of_adam_as_in_the_paper():
    points = voxel_points()
    refined(Maps(points), shifted_library(points, 2.0))
    values = Maps.seen
    assert len(values) == 1 + 8 + 1  # to read the points, before each step, after the last
    assert np.array_equal(values[0], values[1])
    first = np.abs(values[2] - values[1])
    assert first[0, list(AMBIGUOUS)].max() == pytest.approx(5e-4, rel=1e-3)  # Adam's first step is lr · sign(gradient)
    assert first[0, list(STABLE)].max() == 0


def test_steps_follow_adams_formula():
    """Gradients of equation 11 by finite differences, moments by hand."""
    points = voxel_points()
    settings = RefineSettings(on="paper", steps=3, lr=0.01, beta1=0.5)
    found = refined(Maps(points), shifted_library(points, 1.5), settings=settings)
    labels = (found.prior.labels - AFFINE[:3, 3]) @ np.linalg.inv(AFFINE[:3, :3]).T
    place = (3, *np.round(labels[3]).astype(int))
    mean = square = 0.0
    for step in range(1, 4):
        raw = Maps.seen[step][0].astype(np.float64)
        up, down = raw.copy(), raw.copy()
        up[place] += 1e-4
        down[place] -= 1e-4
        gradient = (slow_loss(up, labels) - slow_loss(down, labels)) / 2e-4
        mean, square = 0.5 * mean + 0.5 * gradient, 0.999 * square + 0.001 * gradient**2
        moved = 0.01 * mean / (1 - 0.5**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        assert raw[place] - Maps.seen[step + 1][0][place] == pytest.approx(moved, rel=0.01)


def test_ambiguous_points_move_towards_their_labels_and_the_others_stay():
    points = voxel_points()
    network = Maps(points)
    settings = RefineSettings(on="paper", steps=40, lr=0.2)
    found = refined(network, shifted_library(points, [0, 2.0, 0]), settings=settings)
    assert found.reason == ""
    assert found.losses[-1] < 0.1 * found.losses[0]
    ambiguous, others = list(AMBIGUOUS), [point for point in range(22) if point not in AMBIGUOUS]
    np.testing.assert_allclose(found.moved[ambiguous], 2.0, atol=0.3)  # half of 2 voxels of 2 mm
    np.testing.assert_allclose(found.points[ambiguous], found.prior.labels[ambiguous], atol=0.3)
    assert np.array_equal(found.points[others], found.before[others])
    np.testing.assert_allclose(found.maps[others], softmax_maps(network.raw.detach().numpy())[0, others], rtol=1e-4)
    np.testing.assert_allclose(read(found.maps)[others], read(softmax_maps(network.raw[0].detach().numpy()))[others])


class Noisy(nn.Module):
    """A small U-Net with what may be left changed: running statistics, modes, gradients, frozen parts."""

    fails_at = 0
    calls = 0

    def __init__(self):
        super().__init__()
        self.body = UNet3d(1, 22, (2, 4))
        self.norm = nn.BatchNorm3d(22)

    def forward(self, volume):
        type(self).calls += 1
        if self.calls == self.fails_at:
            raise ZeroDivisionError("provoked")
        return self.norm(self.body(volume))


@pytest.fixture
def noisy():
    Noisy.calls = Noisy.fails_at = 0
    network, volume = Noisy(), torch.rand(1, 1, *SIZE)
    network(volume).square().mean().backward()
    network.norm.train()
    network.body.eval()
    network.body.head.weight.requires_grad_(False)
    network.body.head.weight.grad = None
    Noisy.calls = 0
    return network, volume


def photographed(network):
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gradients = {name: None if p.grad is None else p.grad.clone() for name, p in network.named_parameters()}
    identities = {name: id(parameter) for name, parameter in network.named_parameters()}
    wanted = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    modes = {name: module.training for name, module in network.named_modules()}
    return state, gradients, identities, wanted, modes


def assert_as_before(network, before):
    after = photographed(network)
    for old, new in zip(before[:2], after[:2], strict=True):
        assert old.keys() == new.keys()
        for name, tensor in old.items():
            assert (new[name] is None) if tensor is None else torch.equal(tensor, new[name]), name
    assert before[2:] == after[2:]


LIBRARY = PoseLibrary(to_mm(np.random.default_rng(1).uniform(2, 12, size=(6, 22, 3))))


def test_the_network_is_never_left_changed(noisy):
    network, volume = noisy
    before, kept = photographed(network), volume.clone()
    found = refined(network, LIBRARY, volume=volume)
    assert found.reason == ""
    assert found.losses[-1] != found.losses[0]
    assert_as_before(network, before)
    assert torch.equal(volume, kept)


@pytest.mark.parametrize("call", [1, 2, 5, 10])
def test_nor_when_a_step_fails(noisy, call):
    network, volume = noisy
    before, Noisy.fails_at = photographed(network), call
    with pytest.raises(ZeroDivisionError):
        refined(network, LIBRARY, volume=volume)
    assert_as_before(network, before)


def test_nor_when_it_is_interrupted_while_points_are_read(noisy):
    network, volume = noisy
    before = photographed(network)

    def interrupted(maps):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refined(network, LIBRARY, volume=volume, read=interrupted)
    assert_as_before(network, before)


def test_the_same_each_time_and_under_inference_mode(noisy):
    network, volume = noisy
    one = refined(network, LIBRARY, volume=volume)
    with torch.inference_mode():
        frozen = copy.deepcopy(network).requires_grad_(False)
        other = refined(frozen, LIBRARY, volume=volume.clone())
    assert one.losses == other.losses
    assert np.array_equal(one.maps, other.maps)
    assert np.array_equal(one.points, other.points)


def test_random_numbers_and_gradients_are_left_alone(noisy):
    network, volume = noisy
    torch.manual_seed(5)
    expected = torch.get_rng_state()
    with torch.no_grad():
        refined(network, LIBRARY, volume=volume)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), expected)


def test_a_planned_network_is_refined_alike_and_stays_planned():
    network, volume = UNet3d(1, 22, (4, 8)), torch.rand(1, 1, *SIZE)
    planned = plan_memory(network, [volume], "gcp", 1.4).apply(copy.deepcopy(network))
    one, other = refined(network, LIBRARY, volume=volume), refined(planned, LIBRARY, volume=volume)
    assert one.losses == other.losses
    assert np.array_equal(one.points, other.points)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), planned.parameters(), strict=True))


def test_a_network_with_reversed_blocks_is_refined():
    network, volume = UNet3d(1, 22, (4, 8)), torch.rand(1, 1, *SIZE)
    planned = plan_memory(network, [volume], "rev", 3.0).apply(network)
    before = photographed(planned)
    found = refined(planned, LIBRARY, volume=volume)
    assert found.reason == ""
    assert_as_before(planned, before)


def test_points_that_cannot_be_registered_stay_and_it_is_said():
    points = voxel_points()
    points[list(STABLE)] = [7.0, 7.0, 7.0]
    found = refined(Maps(points), LIBRARY)
    assert found.reason == "the points it is registered on are missing or on one line"
    assert np.array_equal(found.points, found.before)
    assert found.losses == ()
    assert found.prior is None


def test_a_missing_ambiguous_point_is_left_out():
    points = voxel_points()

    def without_the_third(maps):
        return np.where(np.arange(22)[:, None] == AMBIGUOUS[2], np.nan, read(maps))

    found = refined(Maps(points), shifted_library(points, 1.0), read=without_the_third)
    assert found.reason == ""
    assert np.isnan(found.moved[AMBIGUOUS[2]])
    moved = np.abs(Maps.seen[-1] - Maps.seen[0]).max(axis=(0, 2, 3, 4))
    assert np.flatnonzero(moved).tolist() == [point for point in AMBIGUOUS if point != AMBIGUOUS[2]]


@pytest.mark.parametrize("call", [2, 5, 10])
def test_steps_that_do_not_stay_finite_give_the_first_points(noisy, call):
    network, volume = noisy
    network.norm.register_forward_hook(lambda _, __, maps: maps * torch.nan if Noisy.calls == call else None)
    found = refined(network, LIBRARY, volume=volume)
    assert found.reason == "the steps did not stay finite"
    assert np.array_equal(found.points, found.before)
    assert np.isfinite(found.maps).all()


def test_a_schema_without_head_and_trunk_is_refused_before_anything_runs(noisy):
    network, volume = noisy
    with pytest.raises(UsageError, match=r"^refinement: expected .* fetal_face; [^\n]*$"):
        refine(network, volume, AFFINE, LIBRARY, FETAL_FACE, read=read)
    assert Noisy.calls == 0
