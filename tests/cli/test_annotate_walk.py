"""The walk of docs/annotate.md, from a folder of frames to a trained model, line by line as it stands there."""

import json
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from aop_pose.cli.main import run

pytest.importorskip("lightning", reason="training needs the train extra")

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["epochs=1", "image_size=64", "widths=[8,16]", "bottleneck=16", "threshold=0", "batch=4", "precision=fp32"]


def blocks():
    """The lines of the two blocks of the walk."""
    page = (ROOT / "docs" / "annotate.md").read_text(encoding="utf-8")
    walk = page.partition("## From a folder of frames to a model")[2].partition("\n## ")[0]
    return [block.strip().splitlines() for block in re.findall(r"```\n(.*?)```", walk, re.DOTALL)]


def follow(line):
    words = shlex.split(line)[1:]
    if words[0] == "train":
        words += [word for setting in SMALL for word in ("--set", setting)]
    return run(words)


def correct_in_cvat(file, draw):
    """Anna moves every point a little, and marks what the model withheld; CVAT writes elements in another order."""
    tree = ElementTree.parse(file)
    for image in tree.getroot().iter("image"):
        if not len(image):
            skeleton = ElementTree.SubElement(image, "skeleton", {"label": "aop", "z_order": "0"})
            for name, at in (("PS1", "48,16"), ("PS2", "16,16"), ("FH1", "48,64")):
                ElementTree.SubElement(skeleton, "points", {"label": name, "points": at})
    for skeleton in tree.getroot().iter("skeleton"):
        skeleton.set("source", "manual")
        for point in skeleton:
            x, y = map(float, point.get("points").split(","))
            point.set("points", f"{x + draw.normal():.2f},{y + draw.normal():.2f}")
        skeleton[:] = reversed(skeleton)
    tree.write(file, encoding="utf-8")


def correct_in_label_studio(file, draw):
    """Ben submits each prediction with his changes, and passes over tasks without one."""
    tasks = json.loads(file.read_text())
    for task in tasks:
        for proposed in task["predictions"]:
            for mark in proposed["result"]:
                mark["value"]["x"] = min(max(mark["value"]["x"] + draw.normal(), 0), 100)
            task["annotations"] = [{"result": proposed["result"], "completed_by": {"email": "ben@clinic"}}]
    file.write_text(json.dumps(tasks))


def test_the_walk(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["dataset", "phantom", "made", "--count", "8", "--seed", "4", "--size", "96"]) == 0
    (tmp_path / "made" / "images").rename("frames")
    (tmp_path / "later").mkdir()
    for name in ("0000.png", "0001.png"):
        (tmp_path / "frames" / name).rename(tmp_path / "later" / name)
    out, back = blocks()
    assert [follow(line) for line in out] == [0] * len(out)
    draw = np.random.default_rng(0)
    correct_in_cvat(tmp_path / "anna" / "annotations.xml", draw)
    correct_in_label_studio(tmp_path / "ben" / "tasks.json", draw)
    for line in back:
        if " pick " in line:
            # New frames have come in meanwhile.
            for path in (tmp_path / "later").iterdir():
                path.rename(tmp_path / "frames" / path.name)
        assert follow(line) == 0, capsys.readouterr().err
    facts = json.loads((tmp_path / "runs" / "mine" / "run.json").read_text())
    assert facts["data"]["label_spread_px"] > 0
    assert (tmp_path / "evaluation" / "report.html").is_file()
    assert (tmp_path / "next.csv").read_text().startswith("Filename,rank,doubt,distance\n")
