"""Volumes and points by one draw: turns that never mirror, a mirror that swaps sides, nothing lost."""

import attrs
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch comes with the train extra")

import torch

from aop_pose.core.frame import Volume
from aop_pose.errors import UsageError
from aop_pose.inference.grid import brightest, levelled, normalised, place, resample
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.data import order_of
from aop_pose.pipelines.fetusmap import data
from aop_pose.pipelines.fetusmap.config import PRESETS, FetusmapConfig
from aop_pose.pipelines.fetusmap.data import moved, prepare, rotation
from tests.fakes import SIDED_FACE
from tests.pipelines.fetusmap.tiny import AFFINES, blobs

OFF = [f"{name}=0" for name in ("degrees", "scale", "translate", "flip", "brightness", "contrast", "noise", "shading")]
POINTS = np.array([[6.0, 14, 9], [15.5, 8, 11], [20, 17, 5]])
SHAPE = (26, 24, 16)


class VolumeDataset(data.VolumeDataset):
    """The items of the first look alone."""

    def __getitem__(self, index):
        (gray, *_), (points, *_), number = super().__getitem__(index)
        return gray, points, number


def config_of(*changes):
    return load_config(FetusmapConfig, PRESETS, "fast", [*OFF, "rotations=false", "size=[32,32,32]", *changes])


def example_of(config, affine=AFFINES[0], points=POINTS, visible=POINTS):
    return prepare(Volume(blobs(SHAPE, visible), affine, "made-up"), points, config)


def middle_of(gray):
    axes = np.ogrid[tuple(slice(n) for n in gray.shape)]
    return np.array([(axis * gray).sum() / gray.sum() for axis in axes])


def test_a_rotation_is_one():
    np.testing.assert_allclose(rotation(np.array([0, 0, 2.0]), 90) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    assert np.linalg.det(rotation(np.array([1.0, 2, 3]), 33)) == pytest.approx(1)


@pytest.mark.parametrize(
    "kind",
    ["rotations=true", "degrees=40", "scale=0.3", "translate=0.1", "flip=1", "all"],
)
def test_volume_and_points_move_by_one_draw(kind):
    kinds = ["rotations=true", "degrees=40", "scale=0.1", "translate=0.1"] if kind == "all" else [kind]
    config = config_of(*kinds)
    farthest, ends = 0.0, set()
    for number, point in enumerate(POINTS):
        # Only one point is bright, so that it can be found again.
        dataset = VolumeDataset([example_of(config, visible=point[None])], config, SIDED_FACE, seed=3, epoch=0)
        for epoch in range(4):
            dataset.epoch = epoch
            gray, points, _ = dataset[0]
            stands = number if kind != "flip=1" else dataset.mirrored[number]
            assert np.linalg.norm(middle_of(gray[0].numpy()) - points[stands].numpy()) < 0.4
            ends.add(points[stands].numpy().round(2).tobytes())
            straight = moved(dataset.examples[0], np.eye(3), np.zeros(3), config.size)[1][number]
            farthest = max(farthest, float((points[stands] - straight).norm()))
    assert farthest > 1
    assert kind == "flip=1" or len(ends) > 6


def test_a_mirror_swaps_left_and_right_and_nothing_else():
    config = config_of("flip=1")
    example = example_of(config)
    plain = moved(example, np.eye(3), np.zeros(3), config.size)[1].numpy()
    _, points, _ = VolumeDataset([example], config, SIDED_FACE, epoch=0)[0]
    mirrored = plain * [-1, 1, 1] + [31, 0, 0]
    np.testing.assert_allclose(points, mirrored[[0, 2, 1]], atol=1e-4)


def test_turns_and_rotations_never_mirror():
    """The triple product of three vectors keeps its sign through every augmentation but the mirror."""
    config = config_of("rotations=true", "degrees=45", "scale=0.3", "translate=0.3")
    corners = np.array([[5.0, 5, 5], [15, 5, 5], [5, 15, 6]])
    dataset = VolumeDataset([example_of(config, points=corners)], config, SIDED_FACE, epoch=0)
    middle = torch.tensor([15.5, 15.5, 15.5])
    signs = []
    for epoch in range(12):
        dataset.epoch = epoch
        matrix, mirror = dataset._matrix(np.random.default_rng([0, epoch, 0]))
        assert not mirror
        signs.append(np.sign(np.linalg.det(matrix)))
        assert dataset[0][1].sub(middle).abs().max() < 40
    assert set(signs) == {1.0}


@pytest.mark.parametrize("affine", AFFINES, ids=["right-handed", "left-handed"])
@pytest.mark.parametrize("size", ["size=[32,32,32]", "size=[33,32,31]"])
@pytest.mark.parametrize("voxel", ["voxel_mm=null", "voxel_mm=2.5", "aim=brightness", "level_mm=10.0"])
def test_without_augmentation_it_is_the_grid_that_the_predictor_sees(affine, size, voxel):
    aimed = ["aim=brightness", "voxel_mm=1.5"] if voxel == "aim=brightness" else [voxel]
    config = config_of(*aimed).model_copy(update={"size": tuple(map(int, size[6:-1].split(",")))})
    volume = Volume(blobs(SHAPE, POINTS), affine, "a")
    aim = brightest(normalised(volume.voxels)) if len(aimed) > 1 else None
    placement = place(volume.shape, volume.affine, config.voxel_mm, config.size, shrink=aim is None, aim=aim)
    gray, points, _ = VolumeDataset([prepare(volume, POINTS, config)], config, SIDED_FACE)[0]
    levels = levelled(normalised(volume.voxels), volume.spacing, config.level_mm)
    np.testing.assert_allclose(gray[0], resample(levels, placement), atol=1e-3)
    np.testing.assert_allclose(points, placement.forward(POINTS), atol=1e-4)


def test_a_left_handed_file_is_learned_as_its_right_handed_copy():
    config = config_of()
    flipped, points = AFFINES[0].copy(), POINTS.copy()
    flipped[2, 2] *= -1
    points[:, 2] = SHAPE[2] - 1 - points[:, 2]
    one = VolumeDataset([example_of(config)], config, SIDED_FACE)[0]
    other = VolumeDataset([example_of(config, flipped, points, points)], config, SIDED_FACE)[0]
    torch.testing.assert_close(one[0], other[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(one[1], other[1])


def test_no_point_leaves_the_input():
    config = config_of("rotations=true", "degrees=45", "translate=0.5", "scale=0.2", "voxel_mm=2")
    dataset = VolumeDataset([example_of(config)], config, SIDED_FACE)
    for epoch in range(30):
        dataset.epoch = epoch
        points = dataset[0][1]
        assert points.min() > -0.5
        assert points.max() < 31.5


def test_every_draw_follows_from_seed_epoch_and_index():
    config = config_of("rotations=true", "degrees=30", "noise=0.2", "brightness=0.2", "contrast=0.2", "shading=0.3")
    example = example_of(config)
    make = lambda seed: VolumeDataset([example, example], config, SIDED_FACE, seed=seed, epoch=2)  # noqa: E731
    torch.testing.assert_close(make(0)[1], make(0)[1], rtol=0, atol=0)
    assert not torch.equal(make(0)[1][0], make(0)[0][0])
    assert not torch.equal(make(0)[1][0], make(1)[1][0])
    assert sorted(order_of(9, 0, 3)) == list(range(9))
    assert order_of(9, 0, 3) != order_of(9, 0, 4)


def test_shading_is_smooth_and_as_strong_as_it_says():
    plain, config = config_of(), config_of("shading=0.4")
    # Dim, so that nothing is cut at 1.
    example = attrs.evolve(example_of(plain), gray=torch.full((32, 32, 32), 0.05).half(), middle=np.full(3, 15.5))
    unshaded = VolumeDataset([example], plain, SIDED_FACE, epoch=0)[0][0]
    dataset, logs = VolumeDataset([example], config, SIDED_FACE, epoch=0), []
    for epoch in range(40):
        dataset.epoch = epoch
        logs.append((dataset[0][0] / unshaded).log()[0].numpy())
        assert np.abs(np.diff(logs[-1], axis=0)).max() < 4 * 0.4 * 2 / (31 / 3)
    corners = np.array([log[:: len(log) - 1, :: len(log) - 1, :: len(log) - 1] for log in logs])
    assert corners.std() == pytest.approx(0.4, rel=0.1)
    assert abs(corners.mean()) < 0.05


def test_a_window_shows_a_point_half_the_time_or_more():
    config = config_of("mode=patch", "loss=mse", "voxel_mm=2", "size=[8,8,8]", "rotations=true", "widths=[2,2]")
    dataset = VolumeDataset([example_of(config)], config, SIDED_FACE)
    shown = 0
    for epoch in range(60):
        dataset.epoch = epoch
        points = dataset[0][1]
        shown += bool(((points >= -0.5) & (points <= 7.5)).all(dim=1).any())
    assert shown >= 30


def test_a_missing_point_stays_missing_and_what_cannot_be_learned_is_refused():
    config = config_of("rotations=true", "translate=0.2")
    points = POINTS.copy()
    points[1] = np.nan
    _, found, _ = VolumeDataset([example_of(config, points=points)], config, SIDED_FACE, epoch=0)[0]
    assert torch.isnan(found[1]).all()
    assert torch.isfinite(found[[0, 2]]).all()
    with pytest.raises(UsageError, match="at least one labelled point"):
        example_of(config, points=np.full((3, 3), np.nan))
    points[1] = [26, 2, 2]
    with pytest.raises(UsageError, match=r"expected points within \(26, 24, 16\) voxels, found \[26.0, 2.0, 2.0\]"):
        example_of(config, points=points)
    with pytest.raises(UsageError, match="one value in the whole volume"):
        prepare(Volume(np.ones(SHAPE, np.float32), AFFINES[0], "flat"), POINTS, config)
