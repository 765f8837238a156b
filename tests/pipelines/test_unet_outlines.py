"""Outlines and turns of the U-Net: what is taught, what is lost, and that a run with them goes all the way."""

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

from aop_pose.core.stances import STANCES  # noqa: E402
from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.io.images import read_frame  # noqa: E402
from aop_pose.phantom import make_phantom  # noqa: E402
from aop_pose.pipelines import load_weights, pipeline  # noqa: E402
from aop_pose.pipelines.data import RING, Example, inside, phantom_examples, rings  # noqa: E402
from aop_pose.pipelines.losses import axis_error, inside_rings, outline_error, stance_of  # noqa: E402
from aop_pose.pipelines.unet.training import AXES, frames_of  # noqa: E402
from tests.pipelines.unet_tiny import OFF, config_of, train_unet  # noqa: E402

EVERYTHING = ("outlines=true", "turned=0.5", "burnt_in=0.5", "looks=0.5", "cut=0.5", "axis_weight=0.1", "painted=0.5")


def test_rings_are_the_mask_again():
    mask = make_phantom(3, 1).mask
    shares = inside_rings(torch.from_numpy(rings(mask))[None], 256, 4)[0].numpy()
    for number in range(2):
        true = cv2.resize((mask == number + 1).astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(shares[number] - true).mean() < 0.01


def test_a_structure_that_is_not_in_the_mask_is_not_taught():
    mask = make_phantom(3, 1).mask
    found = rings(np.where(mask == 1, 0, mask))
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()
    shares = inside_rings(torch.from_numpy(found)[None], 256, 4)
    assert shares[0, 0].sum() == 0
    # Its weight of 0 leaves the loss to the other one.
    logits = torch.zeros(1, 2, 64, 64)
    alone = outline_error(logits[:, 1:], shares[:, 1:], torch.ones(1, 1))
    assert float(outline_error(logits, shares, torch.tensor([[0.0, 1.0]]))) == pytest.approx(float(alone))


def test_outline_error_by_hand():
    shares = torch.tensor([[[[1.0, 0.0]]]])
    sure = torch.tensor([[[[20.0, -20.0]]]])
    assert float(outline_error(sure, shares, torch.ones(1, 1))) == pytest.approx(0, abs=1e-6)
    # Half everywhere: the entropy is log 2, and 1 - Dice = 1 - (2 * 0.5 + 1) / (1 + 1 + 1).
    found = float(outline_error(torch.zeros(1, 1, 1, 2), shares, torch.ones(1, 1)))
    assert found == pytest.approx(np.log(2) + 1 / 3)


def test_axis_error_counts_degrees_and_no_shift():
    places = torch.tensor([[[30.0, 20.0], [10.0, 20.0], [40.0, 40.0]]])

    def error(points):
        rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        maps = [-((columns - x) ** 2 + (rows - y) ** 2) / 2 for x, y in points]
        return float(axis_error(torch.stack(maps)[None], places, torch.ones(1, 3)))

    assert error([(30, 20), (10, 20), (0, 0)]) == pytest.approx(0, abs=1e-4)
    assert error([(35, 25), (15, 25), (0, 0)]) == pytest.approx(0, abs=1e-4)
    # One pixel across 20 is 2.86 degrees, below the 3 from which the loss is a line.
    assert error([(30, 20), (10, 21), (0, 0)]) == pytest.approx((np.degrees(1 / 20)) ** 2 / 6, rel=1e-3)


@pytest.mark.parametrize("stance", STANCES, ids=lambda stance: stance.words or "upright")
def test_the_turn_is_read_from_the_axes_of_the_picture(stance):
    axes = np.array([[50.0, 50.0], [70.0, 53.0], [47.0, 70.0]])
    given = stance.points_back(axes, (100, 100))
    assert STANCES[int(stance_of(torch.from_numpy(given)[None]))] == stance


def test_picture_points_and_outlines_move_together():
    config = config_of("fast", *OFF, "outlines=true", "turned=0.7", "cut=0.7")
    frames = frames_of(config, phantom_examples(6, 4, outlines=True), seed=2)
    frames.epoch = 0
    turned = set()
    for gray, rows, _ in (frames[i] for i in range(6)):
        turned.add(int(stance_of(rows[None, -AXES:])))
        assert rows.shape == (3 + 2 * RING + AXES, 2)
        assert gray.shape == (1, 256, 256)
        symphysis = rows[3 : 3 + RING].numpy()
        ends = np.linalg.norm(symphysis[:, None] - rows[:2].numpy(), axis=2).min(axis=0)
        # PS1 and PS2 lie on the outline of the symphysis wherever it went.
        assert (ends < 4).all()
    assert len(turned) > 1


def test_a_structure_that_is_painted_out_has_no_outline_and_no_points():
    config = config_of("fast", *OFF, "outlines=true", "painted=1")
    frames = frames_of(config, phantom_examples(6, 4, outlines=True), seed=2)
    as_given = [frames[i] for i in range(6)]
    frames.epoch = 0
    seen = set()
    for i, (gray, rows, _) in enumerate(frames[i] for i in range(6)):
        shares = inside_rings(rows[None, 3:].unflatten(1, (2, RING)), 256, 4)[0]
        before = inside_rings(as_given[i][1][None, 3:].unflatten(1, (2, RING)), 256, 4)[0]
        gone = int(shares.sum(dim=(1, 2)).argmin())
        seen.add(gone)
        assert shares[gone].sum() == 0
        torch.testing.assert_close(shares[1 - gone], before[1 - gone])
        # Without a symphysis no tangent begins anywhere; without a head the symphysis' ends stay.
        assert inside(rows[None, :3], 256)[0].tolist() == ([1, 1, 0] if gone else [0, 0, 0])
        changed = torch.nn.functional.avg_pool2d((gray - as_given[i][0]).abs(), 4)[0]
        assert changed[before[gone] == 1].mean() > 10 * changed[before[gone] == 0].mean()
    assert seen == {0, 1}
    # The frames themselves stay.
    frames.epoch = None
    assert all(torch.equal(frames[i][1], as_given[i][1]) for i in range(6))


def test_of_a_frame_without_labels_nothing_is_painted_out():
    """As pre-training sees them."""
    config = config_of("fast", *OFF, "outlines=true", "painted=1")
    [labelled] = phantom_examples(1, 4)
    frames = frames_of(config, [Example("unlabelled", labelled.pixels, np.zeros((0, 2)))], seed=2)
    as_given = frames[0][0]
    frames.epoch = 0
    gray, rows, _ = frames[0]
    torch.testing.assert_close(gray, as_given, rtol=0, atol=0)
    assert rows.shape == (0, 2)


def test_of_a_turned_frame_only_the_turn_is_learned():
    from aop_pose.pipelines.unet.network import build
    from aop_pose.pipelines.unet.pipeline import Unet
    from aop_pose.pipelines.unet.training import LandmarkTraining

    config = config_of("fast", *OFF, "image_size=64", "widths=[8,16]", "bottleneck=16", "outlines=true", "turned=0.5")
    examples = phantom_examples(1, 4, outlines=True)
    contract = Unet().contract(config, "x", {})
    training = LandmarkTraining(config, build(config), 0, examples, examples, contract)
    rows = training.frames[0][1][None]
    maps = torch.randn(1, 3 + 2 + len(STANCES), 16, 16)
    mirrored = rows * torch.tensor([-1.0, 1.0]) + torch.tensor([63.0, 0.0])
    for given, learned in ((rows, True), (mirrored, False)):
        raw = maps.clone().requires_grad_()
        training.loss_of(lambda gray, raw=raw: raw, torch.zeros(1, 1, 64, 64), given).backward()
        assert bool(raw.grad[:, :5].abs().sum() > 0) == learned
        assert raw.grad[:, 5:].abs().sum() > 0


def test_turns_are_weighed_once_and_are_the_same_everywhere():
    from aop_pose.pipelines.unet.network import build

    torch.manual_seed(0)
    small = ("image_size=64", "widths=[8,16]", "bottleneck=16", "region=none")
    config = config_of("fast", *OFF, *small, "outlines=true", "turned=0.5")
    network, gray = build(config).eval(), torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        raw, answer = network(gray), network.answer(gray)
    assert raw.shape == answer.shape == (2, 3 + 2 + len(STANCES), 16, 16)
    torch.testing.assert_close(answer[:, 5:], torch.softmax(raw[:, 5:], dim=1))
    assert (answer[:, 5:] == answer[:, 5:, :1, :1]).all()


def test_it_trains_exports_and_measures_with_everything_on(phantom_set, tmp_path):
    train_unet(phantom_set, tmp_path / "run", "epochs=1", *EVERYTHING)
    exported = pipeline("unet").export(tmp_path / "run", tmp_path / "made.onnx")
    nodes = pytest.importorskip("onnx").load(tmp_path / "made.onnx").graph.node
    weighed = {node.output[0] for node in nodes if node.op_type == "Softmax"}
    assert any(node.op_type == "Expand" and node.input[0] in weighed for node in nodes)
    assert (exported.contract.outlines, exported.contract.stances) == (("PS", "FH"), True)
    pictures = [read_frame(path).pixels for path in sorted((phantom_set / "images").iterdir())]
    for one, other in zip(load_weights(str(tmp_path / "run")).find(pictures), exported.find(pictures), strict=True):
        np.testing.assert_allclose(one.keypoints.coords, other.keypoints.coords, atol=0.05)
        np.testing.assert_allclose(one.stances, other.stances, atol=1e-3)
        assert one.stances.sum() == pytest.approx(1, abs=1e-3)


def test_a_mask_that_is_missing_or_of_another_size_is_named_before_a_step(phantom_set, tmp_path):
    import shutil

    data = tmp_path / "data"
    shutil.copytree(phantom_set, data)
    cv2.imwrite(str(data / "masks" / "0003.png"), np.zeros((50, 96), np.uint8))
    with pytest.raises(UsageError, match=r"0003\.png: expected 96x96 as its picture, found 96x50"):
        train_unet(data, tmp_path / "run", "epochs=1", "outlines=true")
    (data / "masks" / "0003.png").unlink()
    with pytest.raises(UsageError, match=r"outlines: expected a mask masks/0003 below .*data, found none"):
        train_unet(data, tmp_path / "run", "epochs=1", "outlines=true")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("outlines=true", "head=coordinates"), "go with points aop and head heatmap"),
        (("turned=0.2", "flip=0.5"), "turned goes without flip"),
        (("painted=0.2",), "painted goes with outlines"),
        (("axis_weight=1", "loss=mse", "activation=linear"), "axis_weight goes with activation softmax"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        config_of("fast", *changes)
