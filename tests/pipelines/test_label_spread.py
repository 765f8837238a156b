"""Training takes the uncertainty of a consensus: maps of uncertain labels are wider."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")

from aop_pose.core.keypoints import Keypoints  # noqa: E402
from aop_pose.core.schemas import AOP  # noqa: E402
from aop_pose.formats.label import Label  # noqa: E402
from aop_pose.pipelines.data import Example, FrameDataset, label_spreads, with_ends  # noqa: E402
from aop_pose.pipelines.losses import encode, widened  # noqa: E402
from tests.fakes import textured  # noqa: E402
from tests.formats.made_up import iugc_folder  # noqa: E402
from tests.pipelines.unet_tiny import config_of, train_unet  # noqa: E402

POINTS = np.array([(30.0, 10), (10, 10), (30, 40)])


def label(tmp_path, name, **extras):
    return Label(name, tmp_path / name, (64, 64), Keypoints.from_points(AOP, POINTS), extras=extras)


def test_a_labels_uncertainty_is_that_of_the_mean_of_its_readings(tmp_path):
    frames = [
        label(tmp_path, "a", PS1_sd_px="4", PS2_sd_px="2", FH1_sd_px="6", readers="2"),
        label(tmp_path, "b", PS1_sd_px="2", PS2_sd_px="2", FH1_sd_px="6", readers="8"),
        label(tmp_path, "c", PS1_sd_px="", PS2_sd_px="", FH1_sd_px="", readers="1"),
    ]
    found = label_spreads(frames)
    # Both axes together: 4 px of two readings are 4 / sqrt(2 · 2) = 2 along an axis of their mean.
    np.testing.assert_allclose(found[0], [2, 1, 3])
    np.testing.assert_allclose(found[1], [0.5, 0.5, 1.5])
    # One reading scatters as the others' readings do.
    np.testing.assert_allclose(found[2], np.sqrt(np.array([(16 + 4) / 2, 4, 36]) / 2))
    assert label_spreads([label(tmp_path, "a", device="x")]) is None
    assert label_spreads([]) is None


def test_maps_widen_by_the_uncertainty():
    points = torch.tensor([[(8.0, 8), (4, 4)]])
    ends = torch.tensor([[(11.0, 8), (4, 4)]])
    sigma = widened(4.0, points, ends)
    # sqrt(4² + 3²) = 5, and nothing where the label is exact; on a map of half the pixels sqrt(4² + 1.5²).
    torch.testing.assert_close(sigma, torch.tensor([[5.0, 4.0]]))
    torch.testing.assert_close(widened(4.0, points, ends, 0.5)[0, 0], torch.tensor(np.sqrt(18.25), dtype=torch.float32))
    assert widened(4.0, points, points[:, :0]) == 4.0
    maps = encode(points, 17, sigma)
    assert maps[0, 0, 8, 13].item() == pytest.approx(np.exp(-0.5))
    torch.testing.assert_close(maps[:, 1:], encode(points[:, 1:], 17, 4.0))


def test_the_uncertainty_grows_with_the_picture():
    example = Example("a", textured(0, 64, 64), POINTS, spreads=np.array([2.0, 0, 1]))
    _, rows, _ = FrameDataset([example], 128, lambda gray, points: (gray, points), rows=with_ends)[0]
    np.testing.assert_allclose((rows[3:] - rows[:3]).norm(dim=1), [4, 0, 2], atol=1e-5)


def consensus(folder):
    source = iugc_folder(folder, 6, "Filename,PS1,PS2,FH1,AoP,PS1_sd_px,PS2_sd_px,FH1_sd_px,readers")
    file = source / "labels.csv"
    file.write_text(file.read_text().replace(",90.0", ",90.0,4,2,6,2"))
    return source


@pytest.mark.parametrize("changes", [(), ("turned=0.3", "flip=0"), ("loss=mse", "activation=linear")])
def test_the_unet_learns_from_a_consensus(tmp_path, changes):
    record = train_unet(consensus(tmp_path / "d"), tmp_path / "run", "epochs=1", *changes, labels="labels.csv")
    assert record["data"]["label_spread_px"] == pytest.approx(2)
    assert config_of().sigma == 2
