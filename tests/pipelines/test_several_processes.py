"""A U-Net trained by two processes (gloo, CPU), as Lightning starts them for two GPUs: one run folder, told once."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aop_pose.errors import UsageError
from aop_pose.pipelines.job import Job, gpus_of, leads

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

SCRIPT = """
import sys
from pathlib import Path

import torch

torch.set_num_threads(1)
import aop_pose.pipelines.fitting as fitting

one = fitting.Trainer
fitting.Trainer = lambda **given: one(**{**given, "accelerator": "cpu", "devices": 2, "strategy": "ddp"})
from tests.pipelines.unet_tiny import train_unet

record = train_unet(Path(sys.argv[1]), Path(sys.argv[2]), "epochs=2", "averaging=0.5", say=print)
print("trained", record["finished"])
"""


def test_two_processes_train_into_one_run_folder(phantom_set, tmp_path):
    script, out = tmp_path / "two.py", tmp_path / "run"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[2]
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


def test_only_the_first_process_leads(tmp_path, monkeypatch):
    said = []
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not leads()
    Job(tmp_path, tmp_path / "out", say=said.append).say("a line")
    monkeypatch.setenv("LOCAL_RANK", "0")
    Job(tmp_path, tmp_path / "out", say=said.append).say("once")
    assert said == ["once"]


def test_gpus_are_counted_before_anything_is_written(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert (gpus_of("cpu", 1), gpus_of("1", 2)) == ([], [1, 2])
    with pytest.raises(UsageError, match="gpus: expected at most 2 from --device 1 on, found 3"):
        gpus_of("1", 3)
    with pytest.raises(UsageError, match="gpus: expected 1 with --device cpu, found 2"):
        gpus_of("cpu", 2)
