"""The heatmap U-Net: the papers' parameter counts, one draw for picture and points, resume, start, refusals."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.io.images import read_frame  # noqa: E402
from aop_pose.pipelines import load_weights, pipeline  # noqa: E402
from aop_pose.pipelines.config import precision_of  # noqa: E402
from aop_pose.pipelines.data import Example  # noqa: E402
from aop_pose.pipelines.unet.network import MaskedNetwork, build  # noqa: E402
from tests.fakes import textured  # noqa: E402
from tests.pipelines.unet_tiny import OFF, config_of, train_unet, write_heads  # noqa: E402


@pytest.fixture(scope="module")
def head_set(tmp_path_factory):
    return write_heads(tmp_path_factory.mktemp("heads") / "set")


def parameters(network):
    return sum(value.numel() for value in network.parameters())


@pytest.mark.parametrize(("bias", "count"), [("false", 31_037_763), ("true", 31_043_651)])
def test_the_baseline_has_the_papers_parameters(bias, count):
    assert parameters(build(config_of("iugc2025", f"bias={bias}"))) == count


def test_presets_say_what_the_papers_do():
    iugc, head = config_of("iugc2025"), config_of("head_biometry")
    assert (iugc.image_size, iugc.channels, iugc.map_size, iugc.sigma) == (512, 3, 64, 2.0)
    assert (iugc.optimizer, iugc.lr, iugc.weight_decay, iugc.epochs, iugc.batch) == ("Adam", 1e-4, 1e-4, 150, 4)
    assert (iugc.step_epochs, iugc.step_factor, iugc.save_every, iugc.loss) == (15, 0.5, 50, "mse")
    assert (head.image_size, head.channels, head.map_size, head.sigma, head.activation) == (256, 1, 256, 5.0, "sigmoid")
    assert (head.optimizer, head.lr, head.epochs, head.batch, head.save_every) == ("Adam", 1e-3, 30, 8, 1)
    assert len(head.widths) == 2
    # The artefact of the shipped head network has to stay below 8 MB in float32.
    assert 4 * parameters(build(config_of("head_fast"))) < 7.9e6


@pytest.mark.parametrize("preset", ["attention", "fast", "head_biometry", "head_fast"])
def test_a_preset_gives_maps_of_its_size_with_peaks_in_reach(preset):
    config = config_of(preset)
    network = build(config).eval()
    with torch.no_grad():
        maps = network.answer(torch.rand(1, 1, config.image_size, config.image_size))
    assert maps.shape == (1, len(config.schema_of_points.points), config.map_size, config.map_size)
    assert maps.dtype == torch.float32
    if config.activation == "softmax":
        # A map that knows nothing: 2 pi sigma^2 over the number of pixels, below the threshold.
        np.testing.assert_allclose(maps.sum(dim=(2, 3)), 2 * np.pi * config.sigma**2, rtol=1e-4)
        assert 2 * np.pi * config.sigma**2 / config.map_size**2 < config.threshold


def test_the_31_million_preset_trains_a_step():
    """On one frame at its full 512 x 512; nothing more is claimed of it without a GPU."""
    from aop_pose.pipelines.unet.training import LandmarkTraining

    config = config_of("iugc2025", "batch=1")
    example = Example("a", textured(0, 512, 512), np.array([[250.0, 80.0], [120.0, 130.0], [400.0, 160.0]]))
    training = LandmarkTraining(config, build(config), 0, [example], [], pipeline("unet").contract(config, "a", {}))
    optimizer = training.configure_optimizers()["optimizer"]
    gray, points, _ = training.frames[0]
    before = training.network.out.weight.detach().clone()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision_of("auto", "cpu") == "bf16"):
        loss = training.loss_of(training.network, gray[None], points[None])
    loss.backward()
    optimizer.step()
    assert 0 < float(loss.detach()) < 10
    # Adam's first step is the learning rate, whatever the gradient.
    assert float((training.network.out.weight.detach() - before).abs().max()) == pytest.approx(1e-4, rel=0.05)


def test_attention_gates_shape_the_skips():
    config = config_of("attention", "image_size=64", "widths=[8,16]", "bottleneck=16")
    network = build(config).eval()
    gate = network.body.gates[0]
    skip, signal = torch.rand(1, 16, 8, 8), torch.rand(1, 16, 8, 8)
    share = torch.sigmoid(gate.share(torch.relu(gate.of_skip(skip) + gate.of_signal(signal))))
    torch.testing.assert_close(gate(skip, signal), skip * share)
    assert parameters(network) > parameters(
        build(config_of("attention", "image_size=64", "widths=[8,16]", "bottleneck=16", "attention=false"))
    )


# --- training ---


@pytest.mark.parametrize(
    "changes",
    [
        (), ("region=triangle",), ("head=coordinates",), ("averaging=0", "schedule=step"),
        ("loss=mse", "activation=sigmoid", "optimizer=Adam"), ("attention=true", "clip=1", "phantoms=2"),
    ],
)  # fmt: skip
def test_every_switch_trains_exports_and_predicts(phantom_set, tmp_path, changes):
    train_unet(phantom_set, tmp_path / "run", "epochs=1", *changes)
    exported = pipeline("unet").export(tmp_path / "run", tmp_path / "made.onnx")
    assert exported.contract.head == ("coordinates" if "head=coordinates" in changes else "heatmap")
    pictures = [read_frame(path).pixels for path in sorted((phantom_set / "images").iterdir())]
    for one, other in zip(load_weights(str(tmp_path / "run")).find(pictures), exported.find(pictures), strict=True):
        np.testing.assert_allclose(one.keypoints.coords, other.keypoints.coords, atol=0.05)


@pytest.mark.parametrize("head", ["heatmap", "coordinates"])
def test_head_biometry_trains_exports_and_measures(head_set, tmp_path, head):
    from aop_pose import measure_array

    changes = ("epochs=1", f"head={head}", "save_every=1")
    record = train_unet(head_set, tmp_path / "run", *changes, preset="head_fast")
    assert record["schema"] == "head"
    assert (tmp_path / "run" / "weights" / "epoch_001.pt").is_file()
    assert (tmp_path / "run" / "samples" / "epoch_001.png").is_file()
    exported = pipeline("unet").export(tmp_path / "run", tmp_path / "head.onnx")
    assert exported.schema.name == "head"
    result = measure_array(exported, read_frame(head_set / "images" / "000_0.png").pixels, (0.5, 0.5))
    assert result.keypoints.coords.shape == (4, 2)
    assert result.status != "ok" or result.measurements["hc_mm"].value > 0


def test_it_learns_what_it_is_shown(phantom_set, tmp_path):
    """Overfitted to a few phantoms, the points are found: maps, targets and decoding speak of the same pixels."""
    changes = (
        "epochs=60", "holdout=0", "averaging=0.5", "lr=0.01", "widths=[16,24]", "bottleneck=32", "weight_decay=0",
        *OFF,
    )  # fmt: skip
    train_unet(phantom_set, tmp_path / "run", *changes)
    from aop_pose.formats.registry import read_labels

    frames = read_labels(phantom_set / "labels.csv", phantom_set)
    found = load_weights(str(tmp_path / "run")).find([read_frame(frame.path).pixels for frame in frames])
    errors = [
        np.linalg.norm(f.keypoints.coords - t.keypoints.coords, axis=1) for f, t in zip(found, frames, strict=True)
    ]
    assert np.mean(errors) < 2.0


def test_masked_autoencoding_counts_hidden_patches_alone():
    from aop_pose.pipelines.unet.training import MaskedTraining, hidden_patches

    config = config_of("fast", "image_size=64", "widths=[8,16]", "bottleneck=16")
    mask = hidden_patches(config, 5, torch.Generator().manual_seed(0))
    assert mask.shape == (5, 1, 4, 4)
    assert mask.sum(dim=(1, 2, 3)).tolist() == [10.0] * 5
    training = MaskedTraining(config, MaskedNetwork(config), 0, [], [])
    seen = []

    def network(gray):
        seen.append(gray)
        return torch.zeros(len(gray), 16, 16, 16)

    gray = torch.rand(5, 1, 64, 64)
    large = torch.nn.functional.interpolate(mask, scale_factor=16)
    torch.testing.assert_close(training._masked_error(network, gray, mask), (gray**2)[large > 0].mean())
    assert not (seen[0] * large).any()
    torch.testing.assert_close(seen[0] * (1 - large), gray * (1 - large))


def test_pretraining_reads_a_list_and_no_labels(phantom_set, tmp_path):
    names = sorted(path.name for path in (phantom_set / "images").iterdir())[:4]
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n")
    record = train_unet(
        phantom_set, tmp_path / "run", "epochs=1", verb="pretrain", options={"frames": str(tmp_path / "list.txt")}
    )
    assert record["data"]["frames"] + record["data"]["checked_frames"] == 4
    with pytest.raises(UsageError, match="reads no labels"):
        train_unet(phantom_set, tmp_path / "other", "epochs=1", verb="pretrain", labels="labels2.csv")
    with pytest.raises(UsageError, match="expected the stage train, found pretrain"):
        load_weights(str(tmp_path / "run"))


# --- refusals ---


def test_a_start_of_another_shape_is_listed(phantom_set, tmp_path):
    train_unet(phantom_set, tmp_path / "first", "epochs=1", verb="pretrain")
    with pytest.raises(UsageError, match=r"body.bottleneck.0.weight: \(16, 16, 3, 3\) -> \(24, 16, 3, 3\)"):
        train_unet(phantom_set, tmp_path / "run", "epochs=1", "bottleneck=24", init=str(tmp_path / "first"))
    assert not (tmp_path / "run").exists()


def test_a_coordinate_head_starts_from_an_encoder(phantom_set, tmp_path):
    train_unet(phantom_set, tmp_path / "first", "epochs=1", verb="pretrain")
    record = train_unet(phantom_set, tmp_path / "run", "epochs=1", "head=coordinates", init=str(tmp_path / "first"))
    moved, tensors = record["tensors_transferred"]
    assert tensors - moved == 4


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_a_pickle_is_refused_before_it_runs(phantom_set, tmp_path):
    torch.save({"method": "unet", "state": Evil(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(UsageError, match="not a checkpoint of --method unet"):
        train_unet(phantom_set, tmp_path / "run", "epochs=1", init=str(tmp_path / "evil.pt"))
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["image_size=100"], "image_size has to be a multiple of 64"),
        (["map_stride=2"], "map_stride has to be a multiple of stem"),
        (["loss=mse"], "cross-entropy goes with activation softmax"),
        (["region=ellipse"], "region ellipse does not belong to points aop"),
        (["points=head", "region=none", "phantoms=3"], "phantoms show the points of aop"),
        (["mask_patch=6"], "mask_patch has to be a multiple"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        config_of("fast", *changes)


def test_a_patients_frames_stay_together(head_set):
    from aop_pose.core.schemas import HEAD
    from aop_pose.formats.registry import read_labels
    from aop_pose.pipelines.data import split_frames

    frames = read_labels(head_set / "labels.csv", head_set, HEAD)
    training, checking = split_frames(frames, None, 0.3, 0, patient=r"^([0-9]+)_")
    assert checking
    assert not {f.name[:3] for f in training} & {f.name[:3] for f in checking}
