"""The paper's preset at its full size, HRNet-W48 on 512 x 512: a step while the encoder is frozen, and one after."""

import logging
import resource
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")
pytest.importorskip("timm", reason="timm comes with the train extra")

from lightning.pytorch import Trainer  # noqa: E402

from aop_pose.pipelines import pipeline  # noqa: E402
from aop_pose.pipelines.config import load_config, precision_of  # noqa: E402
from aop_pose.pipelines.data import Example  # noqa: E402
from aop_pose.pipelines.hrnet_gan.config import PRESETS, HrnetConfig  # noqa: E402
from aop_pose.pipelines.hrnet_gan.network import Generator  # noqa: E402
from aop_pose.pipelines.hrnet_gan.training import AdversarialTraining  # noqa: E402
from tests.fakes import textured  # noqa: E402

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Generator(load_config(HrnetConfig, PRESETS, "paper"))


@pytest.mark.parametrize(
    ("thaw", "freed"),
    [("[[150, stage3], [250, stage2]]", set()), ("[[0, stage3], [0, stage2]]", {"stage2", "stage3"})],
    ids=["frozen", "freed"],
)
def test_the_papers_preset_trains_a_step_of_each_phase(network, monkeypatch, thaw, freed):
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "level", logging.ERROR)
    example = Example("a", textured(0, 512, 512), np.array([[250.0, 80.0], [120.0, 130.0], [400.0, 160.0]]))
    config = load_config(HrnetConfig, PRESETS, "paper", ["batch=1", f"thaw={thaw}"])
    module = AdversarialTraining(config, network, 0, [example], [], pipeline("hrnet-gan").contract(config, "a", {}))
    begun = {key: value.detach().clone() for key, value in module.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Made-up bfloat16, on a CPU that has none, takes minutes.
        words = "bf16-mixed" if precision_of("auto", "cpu") == "bf16" else "32-true"
        Trainer(accelerator="cpu", max_epochs=1, precision=words, limit_val_batches=0, **QUIET).fit(module)
    # Of the whole process, in GiB, whatever else it has done: a bound on this step all the more.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 < 6
    assert 0 < module.losses[0] < 100
    moved = {key for key, value in module.named_parameters() if not torch.equal(value, begun[key])}
    farthest = max(
        float((module.get_parameter(key).detach() - begun[key]).abs().max()) for key in moved if "decoder" in key
    )
    # AdamW's first step is the learning rate, whatever the gradient.
    assert farthest == pytest.approx(3e-4, rel=0.1)
    assert {"network.decoder.blocks.0.0.weight", "discriminator.layers.8.weight"} <= moved
    encoder = {key.removeprefix("network.encoder.body.") for key in moved if ".encoder." in key}
    assert {key.split(".")[0] for key in encoder} == freed
