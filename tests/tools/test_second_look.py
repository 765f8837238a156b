"""A second look at other sizes: the full one is what it is measured by, and one that sees the same is as good."""

import sys

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx comes with the train extra")

import onnx
import second_look
from lighten_artefact import lighten

from aop_pose.errors import UsageError
from tests.tiny_artefact import write_artefact, write_heatmap_artefact, write_heavy_artefact

POINTS = np.array([(20.0, 30.0), (30.0, 20.0), (40.0, 50.0)])


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["second_look.py", *map(str, arguments)])
    return second_look.main()


def cells(line):
    return [cell.strip() for cell in line.strip("| ").split("|")]


def test_a_network_that_sees_the_same_at_every_size_loses_nothing(monkeypatch, tmp_path, rehearsal, capsys):
    further = np.full((2, 64, 64), 0.25)
    further[:, 10:30, 10:30] = 0.75
    file = write_heatmap_artefact(
        tmp_path / "a.onnx", POINTS, decode="soft-argmax", outlines=["PS", "FH"], further=further
    )
    assert run(monkeypatch, file, "--data", rehearsal, "--sizes", "32", "--count", "3") == 0
    _, _, full, small = capsys.readouterr().out.splitlines()
    assert [cells(full)[place] for place in (0, 1, 5, 6)] == ["64", "1.00", "0.0, 0.0, 0.0", "1.000, 1.000"]
    # The maps are the same, so that in the widened picture the points are.
    assert [cells(small)[place] for place in (0, 5, 6)] == ["32", "0.0, 0.0, 0.0", "1.000, 1.000"]
    assert cells(small)[2:5] == cells(full)[2:5]
    assert all(float(value) > 0 for value in cells(full)[3].split(", "))


def test_turns_are_left_out(tmp_path):
    heavy = write_heavy_artefact(tmp_path / "heavy.onnx", POINTS)
    with pytest.raises(UsageError, match=r"weighed once, found others in .*heavy.onnx; lighten_artefact.py mends it"):
        second_look.at_size(heavy, 32, turns=True)
    model = onnx.load(heavy)
    lighten(model.graph)
    onnx.save(model, tmp_path / "light.onnx")
    network = second_look.at_size(tmp_path / "light.onnx", 32, turns=True)
    assert network(np.zeros((1, 1, 32, 32), np.float32)).shape == (1, 3, 64, 64)


def test_an_artefact_of_candidates_is_one_line(monkeypatch, tmp_path, rehearsal, capsys):
    assert run(monkeypatch, write_artefact(tmp_path / "a.onnx"), "--data", rehearsal) == UsageError.exit_code
    assert "expected an artefact of heatmaps, found the head pose" in capsys.readouterr().err
