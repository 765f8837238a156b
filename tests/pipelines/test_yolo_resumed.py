"""A YOLO run that is broken off and taken up ends with the files of an undisturbed one, whenever that was."""

import json

import pytest

from tests.fakes import require_ultralytics

require_ultralytics()

import torch  # noqa: E402

from aop_pose.pipelines import pipeline  # noqa: E402
from aop_pose.pipelines.job import Job  # noqa: E402
from aop_pose.pipelines.run import RunFolder  # noqa: E402
from tests.pipelines.conftest import TINY, train_tiny  # noqa: E402
from tests.pipelines.killing import Killed, kill_at  # noqa: E402

OF_A_MOMENT = {"started", "wall_seconds", "peak_memory_mb", "command", "pace"}
OF_A_PLACE = {"name", "save_dir"}


@pytest.fixture(scope="module")
def straight(phantom_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("resumed") / "straight"
    train_tiny(phantom_set, out, "epochs=2")
    return out


def said(run):
    record = json.loads((run / "run.json").read_text())
    return {key: value for key, value in record.items() if key not in OF_A_MOMENT}


def stored(run, name):
    """Every number, word and tensor of a checkpoint of Ultralytics, without its moment and its place."""
    found = torch.load(run / "weights" / name, weights_only=False)
    found["train_args"] = {key: value for key, value in found["train_args"].items() if key not in OF_A_PLACE}
    found |= {key: found[key].state_dict() for key in ("model", "ema") if found[key] is not None} | {"date": None}
    return torch.utils._pytree.tree_leaves(found)


def equal(one, other):
    return torch.equal(one, other) if torch.is_tensor(one) and torch.is_tensor(other) else one == other


def in_its_last_epoch(monkeypatch, train):
    with pytest.raises(Killed):
        train(on_batch=kill_at(2, 1))


def before_its_end_is_said(monkeypatch, train):
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "finish", kill)
        with pytest.raises(Killed):
            train()


def kill(self, **facts):
    raise Killed


@pytest.mark.parametrize("broken_off", [in_its_last_epoch, before_its_end_is_said])
def test_a_run_that_is_killed_ends_with_the_files_of_an_undisturbed_one(
    straight, phantom_set, tmp_path, monkeypatch, broken_off
):
    out = tmp_path / "run"
    broken_off(monkeypatch, lambda **settings: train_tiny(phantom_set, out, "epochs=2", **settings))
    changes = [*pipeline("yolo").useful("train", TINY), "epochs=2"]
    pipeline("yolo").resume(Job(phantom_set, out, changes=changes, init="scratch"))
    assert said(out) == said(straight)
    for name in ("best.pt", "last.pt"):
        first, second = stored(straight, name), stored(out, name)
        assert len(first) == len(second) > 100
        assert all(map(equal, first, second)), name
