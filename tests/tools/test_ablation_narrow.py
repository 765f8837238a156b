"""The ablation of narrower networks: what is pruned gave nothing, the short neck starts as the whole, arms resume."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra train")
torch = pytest.importorskip("torch", reason="torch comes with the train extra")

import ablation_narrow  # noqa: E402
import prune_checkpoint  # noqa: E402
from ablation_narrow import Short  # noqa: E402
from prune_checkpoint import CHANNELS  # noqa: E402

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.formats.registry import read_labels  # noqa: E402
from aop_pose.inference.engine import is_installed  # noqa: E402
from aop_pose.pipelines.checkpoint import read_trained, write_checkpoint  # noqa: E402
from aop_pose.pipelines.config import load_config  # noqa: E402
from aop_pose.pipelines.start import Start  # noqa: E402
from aop_pose.pipelines.unet.config import UnetConfig  # noqa: E402
from aop_pose.pipelines.unet.pipeline import Unet  # noqa: E402
from aop_pose.pseudo.run import read_pseudo  # noqa: E402
from tests.tiny_artefact import write_heatmap_artefact  # noqa: E402

# It is not imported before a test runs: it puts a reader of its own into Pillow.
pytestmark = pytest.mark.skipif(not is_installed("ultralytics"), reason="the body is a YOLO's")


def config_of(width):
    return UnetConfig(encoder="yolo11n", widths=(width,), image_size=64, outlines=True)


def test_channels_that_give_nothing_are_pruned_without_a_change(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    whole = Unet().network("train", config_of(12)).eval()
    state = whole.state_dict()
    for _, norm, takers in CHANNELS:
        # Every third channel: nobody takes anything from it.
        for taker in takers:
            state[f"{taker}.weight"][:, ::3] = 0
        state[f"{norm}.weight"].uniform_(0.5, 2)
    whole.load_state_dict(state)
    file, out = tmp_path / "whole.pt", tmp_path / "narrow.pt"
    write_checkpoint(file, "unet", "train", config_of(12), whole)
    words = ["prune_checkpoint", str(file), "--out", str(out), "--channels"]
    monkeypatch.setattr("sys.argv", [*words, "8"])
    assert prune_checkpoint.main() == 0
    found = read_trained(out, "unet", UnetConfig)
    assert found.config.widths == (8,)
    narrow = Unet().network("train", found.config).eval()
    narrow.load_state_dict(found.state)
    gray = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(narrow(gray), whole(gray), atol=1e-5)
    monkeypatch.setattr("sys.argv", [*words, "12"])
    assert prune_checkpoint.main() == 2
    assert "more than 12 channels, at least 1, found 12 on yolo11n" in capsys.readouterr().err


def test_the_short_neck_has_the_layers_of_the_whole_one_up_to_its_turn():
    whole, short = Unet().network("train", config_of(8)), Short().network("train", config_of(8))
    names = {name: value.shape for name, value in whole.body.state_dict().items()}
    kept = {name: value.shape for name, value in short.body.state_dict().items()}
    assert {name: names[name] for name in kept} == kept
    # Scales of the same sizes, from before the way down.
    gray = torch.rand(1, 1, 64, 64)
    assert [one.shape for one in short.body._outputs(gray)] == [one.shape for one in whole.body._outputs(gray)]
    assert max(int(name.split(".")[1]) for name in kept if name.startswith("layers.")) == 16


def test_the_short_neck_starts_from_the_weights_of_the_whole_one():
    from ultralytics.nn.tasks import DetectionModel

    given, short = DetectionModel("yolo11n.yaml", verbose=False), Short().network("train", config_of(8))
    assert short.body.fill(Start(given, "a file")) == len(short.body.layers.state_dict())
    assert torch.equal(short.body.layers[16].cv1.conv.weight, given.model[16].cv1.conv.weight)


def test_todays_network_comes_before_those_that_need_it():
    made = [arm.folder for arm in ablation_narrow.arms("DPTN", 2)]
    assert made == [f"{name}-coco-{seed}" for name, seed in ("T0", "N0", "T1", "N1", "P0", "P1", "D0", "D1")]


@pytest.fixture
def tiny(tmp_path):
    return write_heatmap_artefact(tmp_path / "tiny.onnx", np.array([(20, 30), (30, 20), (40, 50)], float))


@pytest.fixture
def untrained(monkeypatch, tiny):
    """The jobs that are asked for; T is a network with random weights, exported files are tiny."""
    jobs = {}

    def trained(job, given, by):
        config = load_config(UnetConfig, by.presets(), "best", job.changes)
        jobs[job.out.parent.name] = (job, given, by)
        if job.out.parent.name.startswith("T"):
            (job.out / "weights").mkdir(parents=True)
            write_checkpoint(job.out / "weights/last.pt", "unet", "train", config, by.network("train", config))
        facts = dict.fromkeys(("wall_seconds", "versions", "git_commit", "machine", "best"))
        return {"start": job.init, "config": config.model_dump(mode="json"), "parameters": 1, **facts}

    def export(self, path, out):
        shutil.copy(tiny, out)

    monkeypatch.setattr(ablation_narrow, "trained", trained)
    monkeypatch.setattr(Unet, "export", export)
    return jobs


def test_every_arm_is_asked_for_as_its_words_say(tmp_path, monkeypatch, capsys, untrained, tiny, rehearsal):
    words = ["--dry", "--runs", str(tmp_path), "--beside", str(tiny)]
    shutil.copytree(rehearsal, tmp_path / "dry/data")
    assert ablation_narrow.main(words) == 0
    jobs = {name[0]: one for name, one in untrained.items()}
    assert list(jobs) == list("TNBPSMD")
    widths = {arm: next(one for one in job.changes if "widths" in one) for arm, (job, _, _) in jobs.items()}
    assert widths == {
        arm: f"widths=[{width}]" for arm, width in zip("TNBPSMD", (64, 32, 32, 32, 64, 16, 32), strict=True)
    }
    assert [arm for arm, (_, _, by) in jobs.items() if isinstance(by, Short)] == ["B", "S"]
    assert jobs["P"][0].init.endswith("pruned.pt")
    # D has the labels of the eight that are taken as labelled, and T's points on the other eight.
    assert [len(read_labels(Path(jobs[arm][0].labels), rehearsal)) for arm in "TD"] == [16, 8]
    assert len(read_pseudo(jobs["D"][1]["pseudo"], rehearsal)) == 8
    made = json.loads((tmp_path / "dry/results/M-coco-0.json").read_text())
    assert made["cost"]["ms"] > 0 < made["cost"]["ms_beside"]
    assert len(made["errors"]) == 4
    rows = capsys.readouterr().out.splitlines()
    assert [row[2] for row in rows if row.startswith("| ")][2:] == list("TNBSMPD")
    # What is finished is not trained again.
    monkeypatch.setattr(ablation_narrow, "run_arm", lambda arm, options: pytest.fail("trained again"))
    assert ablation_narrow.main(words) == 0


def test_an_arm_without_the_network_of_today_is_one_line(tmp_path, capsys, rehearsal):
    shutil.copytree(rehearsal, tmp_path / "dry/data")
    assert ablation_narrow.main(["--dry", "--runs", str(tmp_path), "--arms", "P"]) == UsageError.exit_code
    assert "expected the network of T of seed 0, found none; train that arm first" in capsys.readouterr().err
