"""What of a volume comes into the middle of the input: what is bright, and in a second look what was found."""

import numpy as np
import pytest

from aop_pose.core.frame import Volume
from aop_pose.inference.decode import encode
from aop_pose.inference.grid import PlacePrior, levelled, normalised, resample
from aop_pose.inference.volume_predictor import VolumePredictor
from tests.inference.test_volume_predictor import AFFINES, POINTS, bright, contract_of


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_an_input_aimed_at_what_is_bright_finds_what_lies_in_it(affine):
    points = np.array([[4.0, 7, 3], [6, 9, 2], [5, 4, 5]])
    volume = Volume(bright(points), affine, "v")
    contract = contract_of(voxel_mm=3.0, size=(16, 16, 16), aim="brightness")
    seen = []

    def network(inputs):
        seen.append(inputs)
        placed = predictor.place(volume, normalised(volume.voxels)).forward(points)
        return encode(placed[None, :, ::-1], inputs.shape[2:], 2.0).astype(np.float32)

    predictor = VolumePredictor(contract, network, "m")
    np.testing.assert_allclose(predictor.find(volume).keypoints.coords, points, atol=0.02)
    # The volume is 72 mm long and the input 48: it is not shrunk, but cut.
    assert predictor.place(volume, normalised(volume.voxels)).voxel_mm == 3.0
    axes = np.ogrid[:16, :16, :16]
    middle = [float((axis * seen[0][0, 0]).sum() / seen[0].sum()) for axis in axes]
    np.testing.assert_allclose(middle, 7.5, atol=0.8)


def test_a_levelled_volume_is_aimed_by_its_own_gray_and_seen_levelled():
    volume = Volume(bright(), AFFINES["plain"], "v")
    contract = contract_of(voxel_mm=3.0, size=(16, 16, 16), aim="brightness", level_mm=10.0)
    seen = []

    def network(inputs):
        seen.append(inputs[0, 0])
        return np.zeros((1, 3, *inputs.shape[2:]), np.float32)

    predictor, gray = VolumePredictor(contract, network, "m"), normalised(volume.voxels)
    predictor.find(volume)
    placed = predictor.place(volume, gray)
    np.testing.assert_array_equal(seen[0], resample(levelled(gray, volume.spacing, 10.0), placed))
    assert not np.allclose(seen[0], resample(gray, placed), atol=0.05)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("wrong", [0.0, 2.0])
def test_a_second_look_has_what_was_found_in_the_middle_and_counts_places_from_the_first(affine, wrong):
    """A network that is off by ``wrong`` grid voxels in the first look and right in the second."""
    volume = Volume(bright(), affine, "v")
    wide = ((400.0, 0.0, 0.0), (0.0, 400.0, 0.0), (0.0, 0.0, 400.0))
    places = PlacePrior(strength=0.25, means=[(10, 0, -5)] * 3, covariances=[wide] * 3)
    once = VolumePredictor(contract_of(voxel_mm=5.0, aim="brightness"), lambda inputs: None, "m")
    first = once.place(volume, normalised(volume.voxels))
    middle = first.forward(POINTS).mean(axis=0) + wrong
    second = first.shift + np.round((np.array(first.size) - 1) / 2 - middle)
    seen = []

    def network(inputs):
        looked = len(seen)
        seen.append(inputs)
        placed = POINTS * first.scale + (second if looked else first.shift + wrong)
        return encode(placed[None, :, ::-1], inputs.shape[2:], 2.0).astype(np.float32)

    predictor = VolumePredictor(contract_of(voxel_mm=5.0, aim="brightness", looks=2), network, "m")
    maps = predictor.maps(volume)
    np.testing.assert_allclose(maps.placement.shift, second, atol=1)
    np.testing.assert_allclose(predictor.read(maps, volume).keypoints.coords, POINTS, atol=0.02)
    axes = np.ogrid[:24, :24, :24]
    found = [float((axis * seen[1][0, 0]).sum() / seen[1].sum()) for axis in axes]
    np.testing.assert_allclose(found, 11.5 - wrong, atol=1.2)
    seen.clear()
    with_places = VolumePredictor(contract_of(voxel_mm=5.0, aim="brightness", looks=2, places=places), network, "m")
    after = with_places.maps(volume)
    counted_from = after.placement.forward(first.backward(np.array([11.5] * 3)))
    np.testing.assert_allclose(after.maps, places.weigh(maps.maps, 5.0, counted_from), atol=1e-6)
