"""Maps on a YOLO11 body: what a start fills, what is refused, and that it learns, exports and starts again."""

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("ultralytics", reason="ultralytics comes with the train extra")

import numpy as np  # noqa: E402

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.geometry import angle_of_progression  # noqa: E402
from aop_pose.pipelines import load_weights, method_of, pipeline  # noqa: E402
from aop_pose.pipelines.config import load_config  # noqa: E402
from aop_pose.pipelines.losses import HUBER_DEG, angle_error, encode, position_error  # noqa: E402
from aop_pose.pipelines.start import Start  # noqa: E402
from aop_pose.pipelines.unet.config import PRESETS, UnetConfig  # noqa: E402
from aop_pose.pipelines.unet.network import YoloBody, build  # noqa: E402
from tests.fakes import textured  # noqa: E402
from tests.pipelines.unet_tiny import train_unet  # noqa: E402

YOLO = ("encoder=yolo11n", "widths=[16]", "coordinate_weight=0.5", "decode=soft-argmax")


def config_of(*changes):
    return load_config(UnetConfig, PRESETS, "best", changes)


def test_a_start_fills_backbone_and_neck_and_nothing_else():
    from ultralytics.nn.tasks import PoseModel

    given = PoseModel("yolo11n-pose.yaml", data_kpt_shape=[3, 2], verbose=False)
    body = YoloBody("yolo11n", 16)
    refined = body.refine[2].weight.clone()
    count = body.fill(Start(given, "a file"))
    assert count == len(body.layers.state_dict())
    for key, value in body.layers.state_dict().items():
        assert torch.equal(value, given.model.state_dict()[key])
    assert torch.equal(refined, body.refine[2].weight)


def test_a_start_of_another_size_is_refused():
    from ultralytics.nn.tasks import PoseModel

    with pytest.raises(UsageError, match=r"expected all .* backbone and neck tensors"):
        YoloBody("yolo11n", 16).fill(Start(PoseModel("yolo11s-pose.yaml", verbose=False), "a file"))


def test_the_features_are_those_of_ultralytics():
    """The neck's scales equal what Ultralytics' own forward pass hands to its head."""
    from ultralytics.nn.tasks import PoseModel

    model = PoseModel("yolo11n-pose.yaml", data_kpt_shape=[3, 2], verbose=False).eval()
    body = YoloBody("yolo11n", 16).eval()
    body.fill(Start(model, "a file"))
    seen = []
    model.model[-1].register_forward_pre_hook(lambda module, inputs: seen.extend(inputs[0]))
    gray = torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        model(gray.expand(-1, 3, -1, -1))
        fine, *scales = body._outputs(gray)
    assert fine.shape[2:] == (16, 24)
    for ours, theirs in zip(scales, seen, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_position_loss_is_the_huber_loss_of_the_mean_position():
    rng = np.random.default_rng(0)
    logits, places = rng.normal(size=(2, 3, 8, 8)), rng.uniform(0, 7, (2, 3, 2))
    weights = np.array([[1, 1, 0], [1, 0, 1]])
    total = 0.0
    for frame in range(2):
        for point in range(3):
            share = np.exp(logits[frame, point]) / np.exp(logits[frame, point]).sum()
            mean = [(share * np.arange(8)[None, :]).sum(), (share * np.arange(8)[:, None]).sum()]
            for found, true in zip(mean, places[frame, point], strict=True):
                off = abs(found - true) * 512 / 8
                total += weights[frame, point] * (off**2 / 12 if off < 6 else off - 3) / 2
    found = position_error(*(torch.from_numpy(value) for value in (logits, places, weights)))
    assert float(found) == pytest.approx(total / weights.sum(), rel=1e-9)


def test_the_angle_loss_is_the_change_of_the_angle_for_small_errors():
    """Sharp maps beside the truth: the Huber loss of the true turn; a frame with a lost point is left out."""
    truth = torch.tensor([[[40.0, 20.0], [20.0, 26.0], [50.0, 50.0]]] * 2)
    found = truth + torch.tensor([[0.0, -0.2], [0.3, 0.2], [-0.2, 0.3]])
    logits = 200 * encode(found, 64, 2.0).log().clamp_min(-50) / 50
    weights = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    turned = abs(angle_of_progression(*found[0].numpy()) - angle_of_progression(*truth[0].numpy()))
    assert 0.5 < turned < HUBER_DEG
    assert float(angle_error(logits, truth, weights)) == pytest.approx(turned**2 / (2 * HUBER_DEG), rel=0.05)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("head=coordinates", "goes with head heatmap"),
        ("image_size=272", "multiple of 32"),
        ("stem=2", "stem and map_stride 4"),
        ("activation=sigmoid", "angle_weight go with activation softmax"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(change, words):
    changes = [change, "loss=mse"] if change.startswith("activation") else [change]
    with pytest.raises(UsageError, match=words):
        config_of(*changes)


def test_pretraining_of_the_yolo_body_is_refused(phantom_set, tmp_path):
    with pytest.raises(UsageError, match="does not use 'encoder'"):
        train_unet(phantom_set, tmp_path / "run", *YOLO, verb="pretrain")
    with pytest.raises(UsageError, match="starts from --init FILE"):
        train_unet(phantom_set, tmp_path / "run", verb="pretrain", preset="best")
    assert not (tmp_path / "run").exists()


def test_it_trains_exports_and_is_known_by_its_checkpoint(phantom_set, tmp_path):
    run = tmp_path / "run"
    train_unet(phantom_set, run, *YOLO, "epochs=1")
    lone = tmp_path / "alone.pt"
    lone.write_bytes((run / "weights" / "best.pt").read_bytes())
    assert method_of(lone) == "unet"
    exported = pipeline("unet").export(lone, tmp_path / "alone.onnx")
    picture = textured(64, 64)
    native = load_weights(str(run)).find([picture])[0].keypoints
    np.testing.assert_allclose(exported.find([picture])[0].keypoints.coords, native.coords, atol=0.05)
    again = train_unet(phantom_set, tmp_path / "again", *YOLO, "epochs=1", init=str(lone))
    assert again["tensors_transferred"] == [len(build(config_of(*YOLO)).state_dict())] * 2
