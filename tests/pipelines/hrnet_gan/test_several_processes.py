"""Generator and discriminator trained by two processes (gloo, CPU), as Lightning starts them for two GPUs."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lightning", reason="lightning comes with the train extra")
pytest.importorskip("timm", reason="timm comes with the train extra")

SCRIPT = """
import sys
from pathlib import Path

import torch

torch.set_num_threads(1)
import aop_pose.pipelines.fitting as fitting
from aop_pose.pipelines.hrnet_gan.module import AdversarialTraining

one, strategy = fitting.Trainer, AdversarialTraining.strategy_of_several
fitting.Trainer = lambda **given: one(**{**given, "accelerator": "cpu", "devices": 2, "strategy": strategy})
from tests.pipelines.hrnet_tiny import train_hrnet


def told(self):
    total = sum(float(value.detach().double().abs().sum()) for value in self.parameters())
    Path(sys.argv[2]).with_name(f"weights-{self.global_rank}").write_text(repr(total))


AdversarialTraining.on_fit_end = told
record = train_hrnet(Path(sys.argv[1]), Path(sys.argv[2]), "epochs=2", "frozen=true", "thaw=[[1,blocks.5]]", say=print)
print("trained", record["finished"])
"""


def test_two_processes_train_both_networks_alike(phantom_set, tmp_path):
    """Through an epoch with a frozen encoder and one with a part of it freed."""
    script, out = tmp_path / "two.py", tmp_path / "run"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[3]
    ours = {key: value for key, value in os.environ.items() if not key.endswith("_RANK")}
    done = subprocess.run(
        [sys.executable, str(script), str(phantom_set), str(out)],
        env={**ours, "PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert [done.stdout.count(said) for said in ("start:", "kept:", "trained True")] == [1, 1, 1]
    assert json.loads((out / "run.json").read_text())["finished"]
    with (out / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    totals = [(tmp_path / f"weights-{rank}").read_text() for rank in (0, 1)]
    assert totals[0] == totals[1]
