"""What a model found goes to annotators as proposals, and is a label only once a tool gives it back."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from aop_pose.cli.main import run
from aop_pose.errors import UsageError
from aop_pose.formats.convert import convert
from aop_pose.formats.registry import FORMATS, read_labels
from tests.formats.made_up import picture, save

HEADER = "source,index,width,height,status,reason,PS1_x,PS1_y,PS2_x,PS2_y,FH1_x,FH1_y,score,aop_deg,model"


@pytest.fixture
def results(tmp_path):
    for name in ("a.png", "sub/b.png"):
        save(tmp_path / "frames" / name, picture(len(name)))
    rows = [
        HEADER,
        "a.png,0,60,40,ok,,30.25,10,10,10,30,20,0.93,90,net@1",
        "sub/b.png,0,60,40,abstained,no detection,,,,,,,0.02,,net@1",
    ]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.csv").write_text("\n".join(rows) + "\n")
    facts = {"run": {"sources": [str(tmp_path / "frames")]}, "results": []}
    (tmp_path / "run" / "results.json").write_text(json.dumps(facts)[:-2].replace(', "results": [', ',\n"results": ['))
    return tmp_path / "run"


def test_label_studio_gets_predictions_with_their_score(tmp_path, results):
    done = convert(results, tmp_path / "out", "label-studio", data=tmp_path / "frames")
    # A frame that was withheld needs a label most: it goes out without a proposal.
    assert (done.source_format, done.written, done.skipped) == ("results", 2, [])
    task, other = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert (other["data"]["name"], other["annotations"], other["predictions"]) == ("sub/b.png", [], [])
    assert task["annotations"] == []
    (prediction,) = task["predictions"]
    assert (prediction["score"], prediction["model_version"]) == (0.93, "net@1")
    assert prediction["result"][0]["value"]["x"] == pytest.approx(100 * 30.75 / 60)
    # Nobody has annotated it: there is no label in it.
    with pytest.raises(UsageError, match=r"labelled as one of the schemas|are left out|nobody has annotated it"):
        read_labels(tmp_path / "out")


def test_cvat_marks_what_nobody_has_touched(tmp_path, results, capsys):
    convert(results, tmp_path / "out", "cvat", data=tmp_path / "frames")
    (skeleton,) = ElementTree.parse(tmp_path / "out" / "annotations.xml").iter("skeleton")
    assert skeleton.get("source") == "auto"
    assert run(["dataset", "convert", str(tmp_path / "out"), str(tmp_path / "back"), "--to", "iugc"]) == 0
    assert "1 skeletons are as a model left them (source auto)" in capsys.readouterr().err


@pytest.mark.parametrize("to", ["iugc", "yolo-pose", "head-csv", "masks"])
def test_nothing_is_trained_on_proposals_by_accident(tmp_path, results, to):
    with pytest.raises(
        UsageError, match=f"--to {to} needs .*, results has proposals; possible: coco, label-studio, cvat"
    ):
        convert(results, tmp_path / "out", to, data=tmp_path / "frames")


@pytest.mark.parametrize("to", ["coco", "slicer", "napari", "labelme"])
def test_every_tool_takes_them(tmp_path, results, to):
    convert(results, tmp_path / "out", to, data=tmp_path / "frames")
    assert (tmp_path / "out" / "images" / "sub" / "b.png").is_file()
    (label,) = read_labels(tmp_path / "out", say=print)
    np.testing.assert_allclose(label.points, [(30.25, 10), (10, 10), (30, 20)], atol=1e-3)


def test_the_frames_of_a_run_are_found_where_it_measured_them(results, tmp_path):
    assert convert(results, tmp_path / "out", "coco").written == 2
    (results / "results.json").unlink()
    with pytest.raises(UsageError, match=r"expected the folder of the frames that were measured, .*; give --data DIR"):
        convert(results, tmp_path / "again", "coco")
    assert FORMATS["results"].fits(results)
