"""Volumes trained by two processes (gloo, CPU), as Lightning starts them for two GPUs, against one that takes both."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

from aop_pose.core.schemas import FETAL_FACE  # noqa: E402
from aop_pose.pipelines.fetusmap import training  # noqa: E402
from aop_pose.pipelines.fetusmap.network import UNet3d  # noqa: E402
from aop_pose.pipelines.fetusmap.planner import Plan, heuristic  # noqa: E402
from aop_pose.pipelines.fetusmap.training import plan_for, usable_memory  # noqa: E402
from tests.fakes import SIDED_FACE  # noqa: E402
from tests.pipelines.fetusmap.test_landmarks import config_of  # noqa: E402
from tests.pipelines.fetusmap.tiny import TINY, train_tiny, write_faces  # noqa: E402
from tests.pipelines.killing import rows_of  # noqa: E402

LOOK = "{around: brain, size: [16,16,16], voxel_mm: 2.0, widths: [2,4], sigma: 1.5}"
RUNS = {
    # In some steps one process learns the first look, in some both, in some none.
    "looks": ("epochs=2", "voxel_mm=3", "finds=[brain]", f"stages=[{LOOK}]", "first_every=3", "averaging=0"),
    "planned": ("epochs=2", "plan=auto", "max_slowdown=2", "averaging=0"),
    "broken": ("epochs=2", "averaging=0.5"),
    "hopeless": ("epochs=2",),
}

SCRIPT = """
import os
import sys
import time
from pathlib import Path

import torch

torch.set_num_threads(1)
import aop_pose.pipelines.lightning as fitting
import aop_pose.pipelines.run as running
from aop_pose.pipelines.fetusmap import training as found
from aop_pose.pipelines.fetusmap.training import VolumeTraining
from tests.pipelines.fetusmap.test_several_gpus import RUNS, planned_before
from tests.pipelines.fetusmap.tiny import train_tiny

data, out, runs, breaks = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split(","), sys.argv[4]
one, step = fitting.Trainer, VolumeTraining.training_step
found.plan_for = planned_before(out)
fitting.gpus_of = lambda device, count: [0, 1]
fitting.Trainer = lambda **given: one(**{**given, "accelerator": "cpu", "devices": 2})


def taken():
    # As if each had a GPU: 100 MB the first, 200 the second.
    return 100 * (1 + int(os.environ.get("LOCAL_RANK", 0)))


def told(self):
    torch.save(self.state_dict(), out / f"{name}-{self.global_rank}.pt")
    (out / f"{breaks}-{self.global_rank}.pid").write_text(str(os.getpid()))


def breaking(self, batch, number):
    if name == runs[-1] and breaks == str(self.global_rank) and self.current_epoch == 1:
        (out / f"{breaks}.time").write_text(str(time.time()))
        raise OSError(f"no disk at process {breaks}")
    return step(self, batch, number)


running.gpu_mb = fitting.gpu_mb = taken
VolumeTraining.on_fit_end, VolumeTraining.training_step = told, breaking
for name in runs:
    resume = (name, breaks) == ("broken", "0")
    try:
        train_tiny(data, out / name, *RUNS[name], resume=resume, say=lambda line: print(name, line))
    except SystemExit:
        pass
"""


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Nine volumes: six train, and of the three that are held out one process checks two, the other one."""
    return write_faces(tmp_path_factory.mktemp("faces") / "set", count=9)


def planned_before(folder):
    """In the place of ``plan_for``: what it found, read again, since finding it takes longer than the training."""
    plan = Plan.model_validate_json((folder / "plan.json").read_text())
    return lambda config, schema, device, volumes: (plan if config.plan == "auto" else None, 1)


def two_processes(faces, out, runs, breaks):
    """Both do what ``SCRIPT`` does, where the process ``breaks`` breaks off in the last run: what they wrote."""
    script = out / "two.py"
    script.write_text(SCRIPT)
    ours = {key: value for key, value in os.environ.items() if not key.endswith("_RANK")}
    done = subprocess.run(
        [sys.executable, str(script), str(faces), str(out), runs, breaks],
        env={**ours, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}, capture_output=True,
        text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert f"no disk at process {breaks}" in done.stderr, done.stderr[-2000:]
    return done.stdout, time.time() - float((out / f"{breaks}.time").read_text())


@pytest.fixture(scope="module")
def both(faces, tmp_path_factory):
    """The second process breaks off; then what it broke off is resumed, and the first one does in another run."""
    out = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        # The search around the best plans finds one without reversed passes that takes as little.
        patch.setattr(heuristic._Rewritten, "improved", lambda rewritten, choice: choice)
        plan, _ = plan_for(config_of(*TINY, *RUNS["planned"]), FETAL_FACE, "cpu")
    assert plan.reversed_passes
    assert plan.slabs
    (out / "plan.json").write_text(plan.model_dump_json())
    said, late = two_processes(faces, out, "looks,planned,broken", "1")
    unfinished = (out / "broken" / "run.json").read_text()
    more, later = two_processes(faces, out, "broken,hopeless", "0")
    return out, said + more, (late, later), unfinished


def one_that_takes_two_a_step(monkeypatch):
    """One process that takes the mean gradient of two volumes, each by itself, in every step."""
    import aop_pose.pipelines.lightning as fitting

    one = fitting.Trainer
    monkeypatch.setattr(fitting, "Trainer", lambda **given: one(**{**given, "accumulate_grad_batches": 2}))


def numbers_of(run):
    return [{key: float(value) for key, value in row.items()} for row in rows_of(run)]


def states_of(run):
    return torch.load(run / "weights" / "last.pt", weights_only=True)["state"]


@pytest.mark.parametrize("name", ["looks", "planned"])
def test_two_processes_learn_what_one_does_from_both_volumes(both, faces, tmp_path, monkeypatch, name):
    """Normalisation is each volume's own, so that a step of two is the mean of two: weights and checks are the same."""
    one_that_takes_two_a_step(monkeypatch)
    monkeypatch.setattr(training, "plan_for", planned_before(both[0]))
    train_tiny(faces, tmp_path / "one", *RUNS[name])
    for key, value in states_of(tmp_path / "one").items():
        torch.testing.assert_close(states_of(both[0] / name)[key], value, rtol=1e-3, atol=1e-4, msg=key)
    for mine, wanted in zip(numbers_of(both[0] / name), numbers_of(tmp_path / "one"), strict=True):
        assert mine == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("name", ["looks", "planned", "broken"])
def test_both_end_with_the_same_weights_and_the_first_alone_writes(both, name):
    out, said, _, _ = both
    first, second = (torch.load(out / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert said.count(f"{name} kept:") == 1
    assert [row["epoch"] for row in rows_of(out / name)] == ["1", "2"]
    record = json.loads((out / name / "run.json").read_text())
    assert record["finished"]
    assert record["peak_gpu_memory_mb"] == 300
    assert record["pace"]["samples"] == (12 if name != "broken" else 6)


def test_where_one_breaks_off_both_end_and_resume_goes_on(both, faces, tmp_path):
    out, _, late, unfinished = both
    assert max(late) < 60
    assert json.loads(unfinished)["finished"] is False
    assert json.loads((out / "hopeless" / "run.json").read_text())["finished"] is False
    for file in out.glob("*.pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)


def test_a_gpu_more_asks_for_a_copy_of_the_gradients_and_the_least_free_one_counts(monkeypatch):
    one, two = (plan_for(config_of("widths=[4,8]", "budget_gb=4", f"gpus={n}"), SIDED_FACE, "cpu")[1] for n in (1, 2))
    assert two - one == sum(parameter.nbytes for parameter in UNet3d(1, 3, (4, 8)).parameters())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(training, "free_bytes", lambda where: {"0": 9, "1": 4, "2": 6}[where] * 2**30)
    assert usable_memory("0")[1].startswith("9.00 GiB free")
    assert usable_memory("0,2")[1].startswith("6.00 GiB free")
    assert usable_memory("1", 2)[1].startswith("4.00 GiB free")
