"""The 3-D U-Net: sizes, parameters, and that it is centred."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.pipelines.fetusmap.network import UNet3d, in_planes  # noqa: E402


@pytest.mark.parametrize("stem", [1, 2])
def test_maps_have_the_size_of_the_volume(stem):
    network = UNet3d(1, 3, (4, 8, 8), stem)
    assert network.stride == 4 * stem
    assert network(torch.rand(1, 1, 16, 8, 24)).shape == (1, 3, 16, 8, 24)


def test_a_stem_is_one_convolution_more():
    def count(stem):
        return sum(parameter.numel() for parameter in UNet3d(1, 3, (4, 8), stem).parameters())

    # 4 x 4 x 4 x 1 -> 4 channels and their normalisation; the first level then has 4 inputs in place of 1.
    assert count(2) - count(1) == 64 * 4 + 2 * 4 + 27 * 4 * (4 - 1)


@pytest.mark.parametrize("axis", [2, 3, 4])
@pytest.mark.parametrize("stem", [1, 2])
def test_a_mirrored_volume_has_mirrored_maps_where_the_kernels_are_mirrored(stem, axis):
    """Half a voxel of shift in the stem or in the enlargement would show."""
    torch.manual_seed(0)
    network, gray = UNet3d(1, 2, (3, 4), stem), torch.rand(1, 1, 16, 16, 16)
    mirrored = copy.deepcopy(network)
    for module in mirrored.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.weight.data = module.weight.data.flip(axis)
    torch.testing.assert_close(mirrored(gray.flip(axis)).flip(axis), network(gray), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("widths", "stem"), [((4,), 1), ((4, 0), 1), ((4, 8), 3)])
def test_what_no_network_has(widths, stem):
    with pytest.raises(UsageError, match="expected"):
        UNet3d(1, 3, widths, stem)


def test_planes_side_by_side_give_the_same_maps_and_gradients():
    torch.manual_seed(0)
    network, gray = UNet3d(1, 2, (4, 8), 2), torch.rand(1, 1, 16, 12, 20)
    plain, beside = network, in_planes(copy.deepcopy(network))
    found = [one(gray) for one in (plain, beside)]
    for maps in found:
        (maps**2).sum().backward()
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)
    for one, other in zip(plain.parameters(), beside.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-2, rtol=1e-3)
