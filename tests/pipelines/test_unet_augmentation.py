"""What the U-Net is shown: picture and points moved by one draw, and the map of the region between the points."""

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")

from aop_pose.pipelines.data import (  # noqa: E402
    Example,
    FrameDataset,
    inside,
)
from aop_pose.pipelines.unet.network import region_of  # noqa: E402
from aop_pose.pipelines.unet.training import Augmentation  # noqa: E402
from tests.pipelines.unet_tiny import OFF, config_of  # noqa: E402

KINDS = ["degrees=25", "translate=0.15", "scale=0.3", "shear=12", "flip=1", "flip_vertical=1"]


@pytest.mark.parametrize("kind", [*KINDS, "all"])
def test_picture_and_points_move_by_one_draw(kind):
    """Soft dots in the picture are found again where the moved points say."""
    config = config_of("fast", *OFF, *(KINDS if kind == "all" else [kind]))
    points = torch.tensor([[90.3, 120.7], [150.0, 100.2], [130.6, 160.9]], dtype=torch.float64)
    rows, columns = np.mgrid[:256, :256]
    picture = sum(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 50) for x, y in points.tolist())
    augmentation = Augmentation(config)
    farthest = 0.0
    for seed in range(5):
        torch.manual_seed(seed)
        moved, places = augmentation(torch.from_numpy(picture)[None].float().clamp(0, 1), points)
        farthest = max(farthest, float((places - points).abs().max()))
        for x, y in places.tolist():
            # The upper half of the dot: the ground around a moved picture is gray.
            near = np.clip(moved[0].numpy() - 0.5, 0, None) * ((columns - x) ** 2 + (rows - y) ** 2 < 12**2)
            found = (near * columns).sum() / near.sum(), (near * rows).sum() / near.sum()
            np.testing.assert_allclose(found, (x, y), atol=0.12)
    assert farthest > 3


@pytest.mark.parametrize("kind", ["brightness=0.5", "contrast=0.5", "gamma=0.5", "speckle=0.5"])
def test_gray_values_change_and_points_do_not(kind):
    augmentation = Augmentation(config_of("fast", *OFF, kind))
    gray, points = torch.rand(1, 64, 64), torch.rand(3, 2, dtype=torch.float64) * 60
    torch.manual_seed(1)
    changed, same = augmentation(gray, points)
    assert (changed - gray).abs().max() > 0.01
    assert changed.min() >= 0
    assert changed.max() <= 1
    torch.testing.assert_close(same, points)


def test_everything_off_changes_nothing():
    gray, points = torch.rand(1, 64, 64), torch.rand(3, 2, dtype=torch.float64)
    same, places = Augmentation(config_of("fast", *OFF))(gray, points)
    torch.testing.assert_close(same, gray)
    torch.testing.assert_close(places, points)


def test_draws_follow_from_seed_epoch_and_index_alone():
    example = Example(
        "a", np.arange(64 * 64, dtype=np.uint8).reshape(64, 64), np.array([[10.0, 20], [30, 40], [50, 9]])
    )
    config = config_of("fast", "image_size=64", "widths=[8,16]")
    one, other = (FrameDataset([example] * 3, 64, Augmentation(config), 0, epoch=2) for _ in range(2))
    state = torch.random.get_rng_state()
    last = one[2]
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(last[0], [other[i] for i in range(3)][2][0])
    other.epoch = 3
    assert not torch.equal(other[2][0], last[0])
    assert not torch.equal(one[1][0], last[0])


def test_a_point_moved_out_is_not_learned():
    seen = inside(torch.tensor([[[-0.5, 63.5], [-0.6, 3.0], [10.0, 63.6]]]), 64)
    assert seen.tolist() == [[1.0, 0.0, 0.0]]


# --- region ---


def test_the_triangle_is_opencvs():
    points = np.array([[5.0, 8.0], [50.0, 20.0], [22.0, 55.0]])
    for order in ([0, 1, 2], [2, 1, 0]):
        mask = region_of(torch.from_numpy(points[order])[None], 64, "triangle")[0].numpy()
        drawn = cv2.fillConvexPoly(np.zeros((64, 64), np.uint8), points[order].astype(np.int32), 1)
        assert (mask != drawn).mean() < 0.02
        assert mask.sum() == pytest.approx(abs(np.linalg.det(points[1:] - points[0])) / 2, rel=0.02)


def test_the_ellipse_has_the_axes_and_not_the_order_of_their_ends():
    points = torch.tensor([[[10.0, 30.0], [50.0, 30.0], [30.0, 18.0], [30.0, 42.0]]], dtype=torch.float64)
    mask = region_of(points, 64, "ellipse")
    assert float(mask.sum()) == pytest.approx(np.pi * 20 * 12, rel=0.01)
    assert (mask[0, 30, 10], mask[0, 30, 9], mask[0, 42, 30], mask[0, 43, 30]) == (1, 0, 1, 0)
    torch.testing.assert_close(region_of(points[:, [1, 0, 3, 2]], 64, "ellipse"), mask)
