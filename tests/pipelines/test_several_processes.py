"""Networks trained by two processes (gloo, CPU), as Lightning starts them for two GPUs: one run folder, told once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aop_pose.errors import UsageError
from aop_pose.pipelines.job import Job, gpus_of, leads
from tests.pipelines.killing import rows_of

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

SCRIPT = """
import sys
from pathlib import Path

import torch

torch.set_num_threads(1)
import aop_pose.pipelines.lightning as fitting
from aop_pose.pipelines.hrnet_gan.training import AdversarialTraining
from tests.pipelines.hrnet_tiny import train_hrnet
from tests.pipelines.unet_tiny import train_unet

data, out = (Path(word) for word in sys.argv[1:])
one = fitting.Trainer
fitting.gpus_of = lambda device, count: [0, 1]
fitting.Trainer = lambda **given: one(**{**given, "accelerator": "cpu", "devices": 2})


def told(self):
    total = sum(float(value.detach().double().abs().sum()) for value in self.parameters())
    (out / f"weights-{self.global_rank}").write_text(repr(total))


def trained(train, name, *changes):
    try:
        record = train(data, out / name, "epochs=2", *changes, say=lambda line: print(name, line))
    except SystemExit as left:
        # The second process has done its part here; the next training needs it again.
        (out / f"{name}-left").write_text(repr(left.code))
    else:
        print(name, "trained", record["finished"])


AdversarialTraining.on_fit_end = told
trained(train_unet, "unet", "averaging=0.5")
trained(train_hrnet, "hrnet", "frozen=true", "thaw=[[1,blocks.5]]")
"""


@pytest.fixture(scope="module")
def trained(phantom_set, tmp_path_factory):
    """Two trainings, one after the other in the same two processes, and what was printed."""
    pytest.importorskip("timm", reason="timm comes with the train extra")
    folder = tmp_path_factory.mktemp("two")
    script, out = folder / "two.py", folder / "runs"
    script.write_text(SCRIPT)
    out.mkdir()
    root = Path(__file__).parents[2]
    ours = {key: value for key, value in os.environ.items() if not key.endswith("_RANK")}
    done = subprocess.run(
        [sys.executable, str(script), str(phantom_set), str(out)],
        env={**ours, "PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return out, done.stdout


@pytest.mark.parametrize("name", ["unet", "hrnet"])
def test_two_processes_train_into_one_run_folder(trained, name):
    out, said = trained
    assert [said.count(f"{name} {begin}") for begin in ("start:", "kept:", "trained True")] == [1, 1, 1]
    assert json.loads((out / name / "run.json").read_text())["finished"]
    assert [row["epoch"] for row in rows_of(out / name)] == ["1", "2"]
    assert (out / f"{name}-left").read_text() == "0"


def test_two_processes_train_generator_and_discriminator_alike(trained):
    """Through an epoch with a frozen encoder and one with a part of it freed."""
    out, _ = trained
    totals = [(out / f"weights-{rank}").read_text() for rank in (0, 1)]
    assert totals[0] == totals[1]


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
