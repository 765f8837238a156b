"""Axes pulled to one ellipse against axes as found: where one end has slipped, the table shows what is gained."""

import csv
import math
import sys

import axes_table
import numpy as np
import pytest

from aop_pose.formats.head import COLUMNS, OPTIONAL

CROSS = np.array([(0, 50), (120, 50), (60, 5), (60, 95)], float)


def write(file, points, size="0.5"):
    with open(file, "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow([*COLUMNS, *OPTIONAL])
        for number, one in enumerate(points):
            table.writerow([f"{number}_HC.png", *one.ravel(), size, math.pi * 52.5])
    return file


def test_an_axis_that_leans_is_straightened(tmp_path):
    leaning = CROSS + np.array([[0, -9], [0, 9], [0, 0], [0, 0]])
    truth = write(tmp_path / "truth.csv", [CROSS] * 3)
    lines = axes_table.axes_table(write(tmp_path / "r.csv", [leaning] * 3), truth, r"^(\d+)_").splitlines()
    found, fitted = ([float(cell.split()[0]) for cell in line.split("|")[2:-1]] for line in lines[2:4])
    # Of 120 pixels, 60 mm: as found the hypotenuse of 120 and 18 pixels.
    assert found[0] == pytest.approx((math.hypot(120, 18) - 120) / 2, abs=1e-3)
    assert fitted[0] < found[0]
    assert lines[4].startswith("| change of MAE | -")


def test_what_it_needs_is_said(monkeypatch, capsys, tmp_path):
    truth = write(tmp_path / "truth.csv", [CROSS], size="")
    for more, message in (([], "expected pixel sizes"), (["--group-regex", "^x"], "--group-regex")):
        given = truth if not more else write(tmp_path / "sized.csv", [CROSS])
        monkeypatch.setattr(sys, "argv", ["axes_table.py", str(given), str(given), *more])
        assert axes_table.main() == 2
        assert message in capsys.readouterr().err
