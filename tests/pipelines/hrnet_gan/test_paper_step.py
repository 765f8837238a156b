"""The paper's preset at its full size, HRNet-W48 on 512 x 512: a step while the encoder is frozen, and one after."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lightning", reason="lightning comes with the train extra")
pytest.importorskip("timm", reason="timm comes with the train extra")

SCRIPT = """
import json, logging, resource, warnings
import numpy as np
import torch
from lightning.pytorch import Trainer

from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.examples import Example
from aop_pose.pipelines.hrnet_gan.artefact import contract_of
from aop_pose.pipelines.hrnet_gan.config import PRESETS, HrnetConfig
from aop_pose.pipelines.hrnet_gan.module import AdversarialTraining
from aop_pose.pipelines.hrnet_gan.network import Generator
from tests.fakes import textured

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
example = Example("a", textured(0, 512, 512), np.array([[250.0, 80.0], [120.0, 130.0], [400.0, 160.0]]))
quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
network = None
for thaw in ("[[150, stage3], [250, stage2]]", "[[0, stage3], [0, stage2]]"):
    config = load_config(HrnetConfig, PRESETS, "paper", ["batch=1", f"thaw={thaw}"])
    network = network or Generator(config)
    module = AdversarialTraining(config, network, 0, [example], [], contract_of(config, "a", {}))
    begun = {key: value.detach().clone() for key, value in module.named_parameters()}
    Trainer(accelerator="cpu", max_epochs=1, precision="bf16-mixed", limit_val_batches=0, **quiet).fit(module)
    moved = [key for key, value in module.named_parameters() if not torch.equal(value, begun[key])]
    farthest = max(float((module.get_parameter(key) - begun[key]).abs().max()) for key in moved if "decoder" in key)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"moved": moved, "farthest": farthest, "loss": module.losses[0], "peak_gib": peak}))
"""


def test_the_papers_preset_trains_a_step_of_each_phase():
    root = Path(__file__).parents[3]
    ours = {key: value for key, value in os.environ.items() if not key.endswith("_RANK")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=root,
        env={**ours, "PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    frozen, freed = (json.loads(line) for line in done.stdout.splitlines())
    for step in (frozen, freed):
        assert 0 < step["loss"] < 100
        assert step["peak_gib"] < 6
        # AdamW's first step is the learning rate, whatever the gradient.
        assert step["farthest"] == pytest.approx(3e-4, rel=0.1)
        assert {"network.decoder.blocks.0.0.weight", "discriminator.layers.8.weight"} <= set(step["moved"])
    assert not [key for key in frozen["moved"] if ".encoder." in key]
    encoder = {key.removeprefix("network.encoder.body.") for key in freed["moved"] if ".encoder." in key}
    assert {key.split(".")[0] for key in encoder} == {"stage2", "stage3"}
