"""``--init`` takes weights of timm for every encoder of timm; those of another encoder are refused."""

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")
timm = pytest.importorskip("timm", reason="timm comes with the train extra")

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.pipelines import load_weights, pipeline  # noqa: E402
from aop_pose.pipelines.config import load_config  # noqa: E402
from aop_pose.pipelines.hrnet_gan.config import PRESETS, HrnetConfig  # noqa: E402
from tests.pipelines.hrnet_tiny import TINY, train_hrnet  # noqa: E402
from tests.pipelines.unet_tiny import config_of, train_unet  # noqa: E402

SMALL, OTHER = "mobilenetv3_small_050", "mobilenetv3_small_075"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights of a small network for colours, as timm (safetensors), as torch and as a training script save them."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("timm")
    torch.manual_seed(3)
    state = timm.create_model(SMALL, pretrained=False).state_dict()
    save_file(state, folder / "small.safetensors")
    torch.save(state, folder / "small.pth")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, folder / "nested.pt")
    torch.save(timm.create_model(OTHER, pretrained=False).state_dict(), folder / "other.pth")
    return folder, state


def networks():
    """Pipeline, its network with that encoder, and timm's part of it."""
    from aop_pose.pipelines.hrnet_gan.pipeline import HrnetGan
    from aop_pose.pipelines.unet.pipeline import Unet

    unet = Unet()
    config = config_of("best", f"encoder={SMALL}", "image_size=64", "widths=[8]")
    yield unet, unet.network("train", config)
    gan = HrnetGan()
    config = load_config(HrnetConfig, PRESETS, "fast", TINY)
    yield gan, gan.network("train", config)


@pytest.mark.parametrize("file", ["small.safetensors", "small.pth", "nested.pt"])
def test_every_tensor_of_the_encoder_is_that_of_the_file(files, file):
    folder, state = files
    for chosen, network in networks():
        start = chosen.start(str(folder / file), network)
        body, name = chosen.encoder(network)
        mine = body.state_dict()
        assert start.moved == len(mine)
        assert name == SMALL
        for key, value in mine.items():
            wanted = state[key] if key in state else state[key.replace("_0", ".0")]
            # Gray is seen by the sum over the colours.
            torch.testing.assert_close(value, wanted.sum(1, keepdim=True) if key == "conv_stem.weight" else wanted)
        assert "left out:" in start.words
        assert "classifier" in start.words or "conv_head" in start.words


def test_weights_of_another_encoder_are_refused_with_what_does_not_fit(files):
    folder, _ = files
    for chosen, network in networks():
        before = {key: value.clone() for key, value in network.state_dict().items()}
        with pytest.raises(UsageError, match=rf"does not fit the encoder {SMALL} \(\d+ of \d+ tensors\): .* -> "):
            chosen.start(str(folder / "other.pth"), network)
        assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_what_holds_no_tensors_is_refused(files, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    torch.save({"words": "none"}, tmp_path / "none.pt")
    for chosen, network in networks():
        with pytest.raises(UsageError, match=r"--init: .*bad\.safetensors is no file of weights"):
            chosen.start(str(tmp_path / "bad.safetensors"), network)
        with pytest.raises(UsageError, match=r"--init: .*none\.pt: expected tensors by name, found none"):
            chosen.start(str(tmp_path / "none.pt"), network)


def test_an_encoder_of_the_project_takes_no_weights_of_timm(files):
    unet = pipeline("unet")
    with pytest.raises(UsageError, match="expected a checkpoint of --method unet"):
        unet.start(str(files[0] / "small.pth"), unet.network("train", config_of("fast")))


@pytest.mark.parametrize(("name", "message"), [
    ("mobilenet_v3", "name of a timm network, found 'mobilenet_v3'; did you mean"),
    ("vit_tiny_patch16_224", "gives no maps at 1/4, 1/8, 1/16 and 1/32"),
])  # fmt: skip
def test_an_encoder_that_does_not_fit_the_maps_is_refused(name, message):
    with pytest.raises(UsageError, match=message):
        pipeline("unet").network("train", config_of("best", f"encoder={name}"))


def test_the_unet_trains_on_it_and_is_read_back(phantom_set, files, tmp_path):
    record = train_unet(
        phantom_set, tmp_path / "run", f"encoder={SMALL}", "epochs=1", "stem=4", init=str(files[0] / "small.pth")
    )
    assert record["start"].startswith("small.pth (sha256 ")
    assert record["tensors_transferred"][0] == len(timm.create_model(SMALL, features_only=True).state_dict())
    assert load_weights(str(tmp_path / "run")).contract.head == "heatmap"


def test_a_random_start_has_its_own_schedule(phantom_set, files, tmp_path):
    """Frozen epochs are for weights that were learned; what is typed stays."""
    preset = tmp_path / "frozen.yaml"
    preset.write_text("frozen: true\nthaw: [[1, blocks]]\nepochs: 2\n")
    said = []
    train_hrnet(phantom_set, tmp_path / "random", preset=str(preset), say=said.append)
    assert any(line.startswith("random start: the encoder learns from the first epoch on") for line in said)
    first, last = (
        torch.load(tmp_path / "random" / "weights" / f"{name}.pt", weights_only=True) for name in ("best", "last")
    )
    assert (last["config"]["frozen"], first["config"]["thaw"]) == (False, [])
    train_hrnet(phantom_set, tmp_path / "learned", preset=str(preset), init=str(files[0] / "small.pth"))
    learned = torch.load(tmp_path / "learned" / "weights" / "last.pt", weights_only=True)
    assert (learned["config"]["frozen"], learned["config"]["thaw"]) == (True, [[1, "blocks"]])


def test_pretraining_from_random_weights_has_one_rate():
    from aop_pose.pipelines.checkpoint import scratch
    from aop_pose.pipelines.job import Job

    gan = pipeline("hrnet-gan")
    config = load_config(HrnetConfig, PRESETS, "paper", ())
    network = torch.nn.Linear(1, 1)
    own = gan.started("pretrain", config, scratch(network), Job(data=".", out="x"))
    assert own.moco_lr_rest == own.moco_lr_stage3 == config.moco_lr_stage4
    typed = gan.started("pretrain", config, scratch(network), Job(data=".", out="x", changes=["moco_lr_rest=0.5"]))
    assert (typed.moco_lr_rest, typed.moco_lr_stage3) == (config.moco_lr_rest, config.moco_lr_stage4)
