"""The ablation of pre-training, attention and adversary: rehearsed, resumed, and stopped at a wrong call."""

import argparse
import json

import pytest

pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("timm", reason="timm comes with the train extra")

import ablation_hrnet

from aop_pose.errors import AopPoseError, UsageError
from tests.tools.page_commands import words_of


def options_for(folder, *more):
    return ["ablation_hrnet.py", "--runs", str(folder / "runs"), "--results", str(folder / "results"), *more]


def test_every_arm_is_rehearsed_on_one_pretraining(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sys.argv", options_for(tmp_path, *words_of("ablation_hrnet"), "--dry"))
    assert ablation_hrnet.main() == 0
    results = tmp_path / "runs" / "dry" / "results"
    assert sorted(file.name for file in results.iterdir()) == [f"{arm}-fast-0.json" for arm in "BGMN"]
    made = {arm: json.loads((results / f"{arm}-fast-0.json").read_text()) for arm in "NMBG"}
    configs = {arm: one["train"]["config"] for arm, one in made.items()}
    switches = {arm: (config["attention"], config["adversary"]) for arm, config in configs.items()}
    assert switches == {"N": (False, False), "M": (False, False), "B": (True, False), "G": (True, True)}
    assert "pretrain" not in made["N"]
    assert made["N"]["train"]["start"].startswith("scratch")
    assert len({made[arm]["train"]["start"] for arm in "MBG"}) == 1
    assert {config["epochs"] for config in configs.values()} == {1}
    assert [path.name for path in (tmp_path / "runs" / "dry" / "runs").glob("moco-*")] == ["moco-paper-0"]
    printed = capsys.readouterr().out
    assert all(f"| {arm}: " in printed for arm in "NMBG")
    assert "The mean training landmarks, for every frame: MRE " in printed
    # What is finished is not trained again.
    monkeypatch.setattr(ablation_hrnet, "run_arm", lambda arm, options: pytest.fail("trained again"))
    assert ablation_hrnet.main() == 0


def test_a_collapsed_pretraining_is_not_trained_from(monkeypatch, tmp_path):
    run = tmp_path / "moco-paper-0"
    run.mkdir()
    record = {"method": "hrnet-gan", "config": {}, "finished": True, "collapse": {"why": "one point"}}
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(AopPoseError, match="moco-paper-0 collapsed: one point"):
        ablation_hrnet.pretrained("paper", 0, argparse.Namespace(runs=tmp_path))


def test_a_wrong_call_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sys.argv", options_for(tmp_path))
    assert ablation_hrnet.main() == UsageError.exit_code
    assert capsys.readouterr().err == "ablation_hrnet: error: --data: expected the psfhs folder, found none\n"


def test_the_mean_landmarks_are_worked_out_by_hand(rehearsal):
    import numpy as np

    from aop_pose.formats.registry import read_labels

    mean = np.mean([frame.keypoints.coords for frame in read_labels(rehearsal / "labelled.csv", rehearsal)], axis=0)
    errors = [
        np.hypot(*(point - other)) * 512 / 96
        for frame in read_labels(rehearsal / "val.csv", rehearsal)
        for point, other in zip(frame.keypoints.coords, mean, strict=True)
    ]
    assert ablation_hrnet.mean_landmarks(rehearsal) == pytest.approx(np.mean(errors))
