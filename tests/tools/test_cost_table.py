"""Costs of a process whose memory and time are known, and areas by hand."""

import sys

import numpy as np
import pytest

from aop_pose.errors import AopPoseError
from tests.fakes import write_frames
from tests.tiny_artefact import write_artefact

pytest.importorskip("psutil", reason="psutil comes with the train extra")
pytest.importorskip("matplotlib", reason="matplotlib comes with the train extra")
import cost_table
from cost_table import Cost, area, measured


def test_the_area_is_that_of_trapezoids():
    cost = Cost(np.array([0.0, 1.0, 3.0]), np.array([10.0, 20.0, 20.0]), np.zeros(3), np.full(3, np.nan))
    assert area(cost, cost.ram_mb) == 15 + 40
    assert np.isnan(area(cost, cost.gpu_mb))


def test_memory_and_time_of_a_process_show():
    # Touched, so that the pages are resident.
    work = "import time; held = bytearray(b'x') * (200 * 2**20); time.sleep(0.6)"
    cost = measured([sys.executable, "-c", work])
    assert 200 < cost.ram_mb.max() < 300
    assert cost.ram_mb[-1] == 0
    assert cost.seconds[-1] >= 0.6
    assert (np.diff(cost.seconds) > 0).all()
    assert 0 <= cost.cpu_percent.min() <= cost.cpu_percent.max() <= 100
    assert np.isnan(cost.gpu_mb).all()


def test_a_child_is_counted_with_its_parent():
    child = "held = bytearray(b'x') * (150 * 2**20); import time; time.sleep(0.8)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    cost = measured([sys.executable, "-c", parent])
    assert cost.ram_mb.max() > 150


def test_a_process_that_fails_is_said():
    with pytest.raises(AopPoseError, match=r"ended with 1: .*no such luck"):
        measured([sys.executable, "-c", "raise SystemExit('no such luck')"])


def test_the_table_and_the_curves_of_an_artefact(monkeypatch, capsys, tmp_path):
    folder = write_frames(tmp_path / "frames", 3, height=64, width=64)
    artefact = write_artefact(tmp_path / "tiny.onnx")
    command = ["cost_table.py", "--frames", str(folder), "--artefact", str(artefact), "--count"]
    monkeypatch.setattr(sys, "argv", [*command, "3", "--curves", str(tmp_path / "cost.svg")])
    assert cost_table.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| 3 frames | tiny |"
    named = dict(line.strip("| ").split(" | ") for line in lines[2:])
    assert list(named)[:2] == ["Runtime (s)", "Frames per second"]
    assert float(named["Frames per second"]) == pytest.approx(3 / float(named["Runtime (s)"]), rel=0.05)
    assert float(named["Maximum RAM (MB)"]) > 30
    assert named["Maximum GPU memory (MB)"] == "no GPU"
    assert "<svg" in (tmp_path / "cost.svg").read_text()
    monkeypatch.setattr(sys, "argv", [*command, "4"])
    assert cost_table.main() == 2
    assert "expected 4 frames" in capsys.readouterr().err
