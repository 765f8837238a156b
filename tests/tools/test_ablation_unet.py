"""The night's table of the U-Net goes on where one arm breaks off, and stops at once at a wrong call."""

import argparse

import pytest

pytest.importorskip("torch", reason="torch comes with the train extra")

import ablation_unet

from aop_pose.errors import AopPoseError, UsageError


def arms_run(monkeypatch, tmp_path, error):
    """Names of the arms that were begun where the first one raises ``error``."""
    begun = []

    def run_arm(arm, options):
        begun.append(arm.folder)
        if len(begun) == 1:
            raise error
        return {"arm": arm.name}

    monkeypatch.setattr(ablation_unet, "run_arm", run_arm)
    ablation_unet.train_all(ablation_unet.arms(["H", "C"], ["head"], 1), argparse.Namespace(results=tmp_path))
    return begun


def test_an_arm_that_breaks_off_is_said_and_the_others_go_on(monkeypatch, tmp_path, capsys):
    begun = arms_run(monkeypatch, tmp_path, AopPoseError("epoch 1: the loss is nan"))
    assert begun == ["H-head-0", "C-head-0"]
    assert [file.name for file in tmp_path.iterdir()] == ["C-head-0.json"]
    assert "H-head-0: epoch 1: the loss is nan" in capsys.readouterr().err


def test_a_wrong_call_stops_the_table(monkeypatch, tmp_path):
    with pytest.raises(UsageError):
        arms_run(monkeypatch, tmp_path, UsageError("--labels: nothing there"))


def test_arms_are_paired_seed_by_seed():
    made = [arm.folder for arm in ablation_unet.arms(["H", "T"], ["aop", "head"], 2)]
    assert made == [f"{name}-{schema}-{seed}" for seed in (0, 1) for schema in ("aop", "head") for name in "HT"]
