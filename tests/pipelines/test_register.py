"""A pipeline of another package: three short files and a call of ``register``; every verb is inherited."""

import subprocess
import sys
from pathlib import Path

import pytest

from aop_pose.errors import UsageError
from aop_pose.pipelines import PIPELINES, described, pipeline, register
from aop_pose.pipelines.job import Job

CONFIG = """
from pydantic import Field

from aop_pose.pipelines.config import FrameConfig


class DotsConfig(FrameConfig):
    image_size: int = Field(default=32, ge=8)
    lr: float = Field(default=0.01, gt=0)
"""
TRAINING = """
import torch
from torch import nn

from aop_pose.pipelines.data import FrameDataset
from aop_pose.pipelines.lightning import PointTraining, Schedule
from aop_pose.pipelines.losses import encode


class DotsNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3, padding=1)
        self.out = nn.Conv2d(4, 3, 1)

    def forward(self, gray):
        return torch.sigmoid(self.out(torch.relu(self.body(gray))))

    answer = forward


def unchanged(gray, points):
    return gray, points


class DotsTraining(PointTraining):
    method = "dots"

    def __init__(self, config, network, seed, training, checking, contract):
        sets = [FrameDataset(given, config.image_size, unchanged, seed) for given in (training, checking)]
        super().__init__(config, Schedule.of(config, config.batch), network, seed, *sets, contract)

    def loss_of(self, network, gray, points):
        return (network(gray) - encode(points, self.settings.image_size, 2.0)).square().mean()

    def rate(self, epoch):
        return self.settings.lr

    def configure_optimizers(self):
        return torch.optim.Adam(self.network.parameters(), lr=self.settings.lr)
"""
PIPELINE = '''
from aop_pose.inference.predictor import Contract
from aop_pose.pipelines.pipeline import LabelledOptions, LightningPipeline, Stage

from dots.config import DotsConfig


class Dots(LightningPipeline):
    """Learns PS1, PS2 and FH1 by two convolutions."""

    name = "dots"
    packages = ("torch", "lightning")
    config = DotsConfig
    stages = {"train": Stage(LabelledOptions)}

    def network(self, stage, settings):
        from dots.training import DotsNetwork

        return DotsNetwork()

    def training(self, stage, data, network, job):
        from dots.training import DotsTraining

        contract = self.contract(data.settings, job.out.name, {"name": job.out.name})
        return DotsTraining(data.settings, network, job.seed, data.training, data.checking, contract)

    def contract(self, settings, name, run):
        return Contract(
            name=name, schema="aop", head="heatmap", image_size=settings.image_size, threshold=settings.threshold,
            decode=settings.decode, training_run=run,
        )
'''


@pytest.fixture
def dots(tmp_path, monkeypatch):
    folder = tmp_path / "dots"
    (folder / "presets").mkdir(parents=True)
    (folder / "__init__.py").touch()
    for name, text in (("config", CONFIG), ("training", TRAINING), ("pipeline", PIPELINE)):
        (folder / f"{name}.py").write_text(text)
    (folder / "presets" / "fast.yaml").write_text("epochs: 1\nbatch: 4\nthreshold: 0.0\nholdout: 0.3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = dict(PIPELINES)
    register("dots", "dots.pipeline:Dots")
    yield "dots"
    PIPELINES.clear()
    PIPELINES.update(before)
    for name in [name for name in sys.modules if name.partition(".")[0] == "dots"]:
        del sys.modules[name]


def test_a_pipeline_of_another_package_trains_exports_and_measures(dots, phantom_set, tmp_path):
    pytest.importorskip("lightning", reason="lightning comes with the train extra")
    from aop_pose.cli import main
    from aop_pose.pipelines import load_weights

    assert described()["dots"]["presets"] == ["fast"]
    words = ["--method", "dots", "--data", str(phantom_set), "--out", str(tmp_path / "run"), "--set", "precision=fp32"]
    assert main.run(["train", *words]) == 0
    assert main.run(["export", str(tmp_path / "run"), "--out", str(tmp_path / "dots.onnx")]) == 0
    assert load_weights(str(tmp_path / "dots.onnx")).contract.training_run["method"] == "dots"
    assert load_weights(str(tmp_path / "run" / "weights" / "last.pt")).contract.image_size == 32
    with pytest.raises(UsageError, match="unknown setting 'epoch'; did you mean 'epochs'"):
        pipeline("dots").train(Job(phantom_set, tmp_path / "other", changes=["epoch=1"]))


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("Dots", "dots.pipeline:Dots", "expected a name of small letters"),
        ("dots", "dots.pipeline", "expected module:Class, found 'dots.pipeline'"),
        ("unet", "dots.pipeline:Dots", "pipeline unet: there is one already, aop_pose"),
    ],
)
def test_what_cannot_be_registered_is_said(name, target, said):
    before = dict(PIPELINES)
    with pytest.raises(UsageError, match=said):
        register(name, target)
    assert before == PIPELINES
    register("unet", PIPELINES["unet"])


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(
        UsageError, match=r"^--method: expected one of yolo, .*, found 'hrnet'; did you mean hrnet-gan\?$"
    ):
        pipeline("hrnet")


def test_pipelines_are_described_without_torch():
    code = (
        "import sys; from aop_pose.pipelines import described\n"
        "assert set(described()) == {'yolo', 'unet', 'hrnet-gan', 'fetusmap'}\n"
        "print({'torch', 'lightning', 'ultralytics', 'torchvision', 'timm'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert (done.stdout.strip(), done.returncode) == ("set()", 0), done.stderr
