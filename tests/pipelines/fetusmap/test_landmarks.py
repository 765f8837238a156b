"""The settings, the network by its plan, and its export at batch 1."""

import copy
from functools import cache

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.pipelines.config import load_config  # noqa: E402
from aop_pose.pipelines.fetusmap.config import PRESETS, FetusmapConfig  # noqa: E402
from aop_pose.pipelines.fetusmap.landmarks import Exported, FetusmapModel, LandmarkNetwork  # noqa: E402
from aop_pose.pipelines.fetusmap.network import UNet3d  # noqa: E402
from aop_pose.pipelines.fetusmap.planner import plan_memory  # noqa: E402


def config_of(*changes, preset="fast"):
    return load_config(FetusmapConfig, PRESETS, preset, changes)


@cache
def plan_of(method):
    return plan_memory(UNet3d(1, 3, (4, 8)), [torch.empty(1, 1, 16, 16, 16)], method) if method else None


def model_of(method, **changes):
    """A model of widths 4, 8 whose plan has blocks of that method."""
    config, plan = config_of("widths=[4,8]", "size=[16,16,16]"), plan_of(method)
    return FetusmapModel(**config.model_dump(), points="fetal_face", memory_plan=plan).model_copy(update=changes)


@pytest.mark.parametrize("preset", ["paper", "paper_plain", "fast", "fetal_face"])
def test_presets_are_valid(preset):
    config = config_of(preset=preset)
    assert all(side % config.stride == 0 for side in config.size)


def test_the_paper_is_followed():
    paper, plain = config_of(preset="paper"), config_of(preset="paper_plain")
    assert (paper.size, plain.size) == ((208, 128, 144), (176, 112, 112))
    for config in (paper, plain):
        assert (config.sigma, config.stem) == (2.0, 1)
        assert (config.lr, config.beta1, config.epochs, config.rotations) == (1e-4, 0.5, 100, True)
        with torch.device("meta"):
            network = UNet3d(1, 22, config.widths)
        assert 147.5 < sum(p.nbytes for p in network.parameters()) / 2**20 < 148.5
    assert (paper.plan, paper.pair, plain.plan, plain.pair) == ("auto", True, "none", False)


@pytest.mark.parametrize(("method", "stem"), [(None, 1), ("gcp", 1), ("rev", 1), (None, 2)])
@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_at_batch_1_the_export_answers_as_the_network(method, stem, loss):
    network = LandmarkNetwork(model_of(method, stem=stem, loss=loss)).eval()
    if method == "rev":
        assert any(type(module).__name__ == "ReversibleBlock" for module in network.modules())
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    exported = Exported(network).eval()
    assert not any(isinstance(module, torch.nn.BatchNorm3d) for module in exported.modules())
    gray = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(exported(gray), network.answer(gray), atol=1e-5, rtol=1e-4)


def test_the_export_leaves_the_network_as_it_was():
    network = LandmarkNetwork(model_of("rev"))
    before = copy.deepcopy(network.state_dict())
    Exported(network)
    assert any(isinstance(module, torch.nn.BatchNorm3d) for module in network.modules())
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_plan_goes_into_the_checkpoint_and_comes_back():
    model = model_of("rev")
    again = FetusmapModel.model_validate(model.model_dump(mode="json"))
    assert again.memory_plan == model.memory_plan
    one, other = LandmarkNetwork(model), LandmarkNetwork(again)
    other.load_state_dict(one.state_dict())
    gray = torch.rand(1, 1, 16, 16, 16)
    torch.testing.assert_close(one(gray), other(gray))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["size=[60,64,64]"], r"multiple of 8 .* the nearest is \[64, 64, 64\]"),
        (["pair=true", "loss=mse"], "pair goes with loss cross-entropy"),
        (["mode=patch"], "mode patch goes with loss mse"),
        (["aim=brightness"], "aim brightness needs voxel_mm"),
        (["place_prior=0.5", "voxel_mm=null"], "place_prior needs voxel_mm"),
        (["mode=patch", "loss=mse"], "mode patch needs voxel_mm"),
        (["mode=patch", "loss=mse", "voxel_mm=2", "looks=2"], "looks 2 needs mode whole"),
        (["widths=[8]"], "two levels"),
        (["size=[8,8,8]"], "more than one stride"),
        (["patient=abc"], "bracket around the patient"),
        (["flips=1"], "did you mean 'flip'"),
    ],
)
def test_settings_that_do_not_go_together(changes, said):
    with pytest.raises(UsageError, match=said):
        config_of(*changes)
