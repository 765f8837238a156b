"""The benchmark measures what it says; its times are nobody's promise here."""

import json
import sys

import benchmark as tool
import cv2
import numpy as np
import pytest
from benchmark import Measured, kept, ratios

from tests.fakes import write_frames
from tests.tiny_artefact import write_heatmap_artefact
from tests.tools.page_commands import words_of


def test_ratios_are_those_of_medians():
    found = {
        name: Measured.of(values, "s")
        for name, values in {
            "onnx: bare": (1.0, 2.0, 9.0), "onnx: no gate": (2.2,), "onnx: gate": (4.4,), "onnx: overlays": (4.84,),
            "process: yolo predict": (9.0,), "process, onnx: gate": (4.5,), "memory: 2 frames": (100.0,),
            "memory: 9 frames": (105.0,),
        }.items()
    }  # fmt: skip
    assert ratios(found, ["onnx", "openvino"], [2, 9]) == pytest.approx(
        {
            "onnx: no gate / bare": 1.1,
            "onnx: gate / two bare passes": 1.1,
            "onnx: overlays / none": 1.1,
            "yolo predict / onnx, gate": 2.0,
            "memory at 9 / 2 frames": 1.05,
        }
    )
    assert str(found["onnx: bare"]) == "2 s (1 to 9)"


def test_workers_of_ray_are_held_against_one_process_without_their_start():
    found = {
        name: Measured.of([value], "s")
        for name, value in {"frames: 9": 6.0, "ray: 2 workers": 15.0, "ray: start, 2 workers": 7.0}.items()
    }
    assert ratios(found, [], [], [2], 9) == {"local / 2 workers of Ray, start-up apart": 0.75}


def test_a_promise_holds_where_its_number_is_on_the_right_side():
    measured = {"help": {"median": 0.15}, "first row": {"median": 0.71}, "frames: 9": {"median": 9.0}}
    ratios = {"yolo predict / onnx, gate": 1.7, "onnx: overlays / none": 1.1}
    assert kept({"measured": measured, "ratios": ratios}) == {
        "onnx: overlays / none": True, "yolo predict / onnx, gate": False, "help": True, "first row": False,
    }  # fmt: skip


def test_the_call_of_the_page_measures_every_case(monkeypatch, tmp_path):
    pytest.importorskip("ultralytics", reason="training needs the extra train")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    from aop_pose.pipelines.isolation import isolate

    isolate()
    import torch
    from ultralytics.nn.tasks import PoseModel

    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs" / "pictures").mkdir(parents=True)
    write_frames(tmp_path / "psfhs" / "images", 2, height=64, width=64)
    torch.save({"model": PoseModel("yolo11n-pose.yaml", nc=1, data_kpt_shape=[3, 2], verbose=False)}, "best.pt")
    artefact = write_heatmap_artefact(tmp_path / "a.onnx", np.array([(40, 20), (15, 25), (45, 50)], float))
    # Ray's start takes longer than all the rest; ``measuring/test_runners`` holds it where it is installed.
    quick = ["--weights", str(artefact), "--quick", "--engines", "onnx", "--ray"]
    drawn = []
    monkeypatch.setattr(pyplot, "close", drawn.append)
    monkeypatch.setattr(sys, "argv", ["benchmark", *words_of("benchmark"), *quick])
    assert tool.main() == 0
    document = json.loads((tmp_path / "cost.json").read_text())
    cases = document["measured"]
    assert [name for name in cases if name.startswith("onnx")] == [
        "onnx: bare", "onnx: no gate", "onnx: gate", "onnx: overlays",
    ]  # fmt: skip
    assert {
        "help",
        "first row",
        "process, onnx: gate",
        "process: yolo predict",
        "memory: 4 frames",
        "frames: 4",
        "pixels: 64",
        "workers: 2",
    } <= set(cases)
    assert all(one["least"] <= one["median"] <= one["most"] for one in cases.values())
    assert document["ratios"]["onnx: gate / two bare passes"] > 0
    table = (tmp_path / "cost.md").read_text()
    assert all(f"| {name} |" in table for name in (*cases, *document["ratios"], *document["kept"]))
    assert {"help", "first row", "onnx: gate / two bare passes", "yolo predict / onnx, gate"} <= set(document["kept"])
    assert cv2.imread("docs/pictures/cost.png") is not None
    # No half worker beside what was measured.
    assert [list(axis.get_xticks()) for axis in drawn[0].axes] == [[2, 4], [64], [1, 2]]


@pytest.mark.parametrize("words", [["frames", "workers"], ["helm"]])
def test_only_the_cases_that_are_asked_for(monkeypatch, tmp_path, capsys, words):
    artefact = write_heatmap_artefact(tmp_path / "a.onnx", np.array([(40, 20), (15, 25), (45, 50)], float))
    frames = write_frames(tmp_path / "frames", 2, height=64, width=64)
    given = ["--frames", frames, "--weights", artefact, "--quick", "--ray", "2", "--json", tmp_path / "a.json"]
    monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, given), "--only", *words])
    if words == ["helm"]:
        assert tool.main() == 2
        assert "there are onnx; " in capsys.readouterr().err
        return
    assert tool.main() == 0
    document = json.loads((tmp_path / "a.json").read_text())
    assert [*document["measured"]] == ["frames: 2", "frames: 4", "workers: 1", "workers: 2"]
    assert document["ratios"] == document["kept"] == {}


def test_a_folder_without_frames_is_said(monkeypatch, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(sys, "argv", ["benchmark", "--frames", str(tmp_path / "empty"), "--quick"])
    assert tool.main() == 2
    assert "expected frames, found none" in capsys.readouterr().err
