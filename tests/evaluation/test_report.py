"""What is written can be read back and adds up to what is said."""

import csv
import io
import json

import numpy as np
import pytest
from rich.console import Console

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.evaluation.match import Matched
from aop_pose.evaluation.metrics import frame_errors, summarise
from aop_pose.evaluation.report import summary_table, write_report
from aop_pose.schemas import AOP

TRUTH = np.array([[[100.0, 100.0], [0.0, 100.0], [100.0, 200.0]]] * 2)


@pytest.fixture
def evaluated():
    predicted = np.add(TRUTH, [3.0, 4.0])
    predicted[1] = np.nan
    sizes = np.array([[300.0, 400.0]] * 2)
    matched = Matched(AOP, ("a.png", "b, c.png"), ("ok", "no row"), predicted, TRUTH, sizes, ())
    errors = frame_errors(predicted, TRUTH, sizes)
    return matched, errors, summarise(errors)


def test_both_files_stand_and_nothing_else(tmp_path, evaluated):
    write_report(tmp_path / "new" / "folder", *evaluated)
    out = tmp_path / "new" / "folder"
    assert sorted(path.name for path in out.iterdir()) == ["metrics.json", "per_frame.csv"]
    assert json.loads((out / "metrics.json").read_text()) == evaluated[2]
    assert evaluated[2]["mre_px"] == 5


def test_per_frame_has_a_row_for_every_true_frame_and_no_invented_zero(tmp_path, evaluated):
    write_report(tmp_path, *evaluated)
    with open(tmp_path / "per_frame.csv", newline="", encoding="utf-8") as stream:
        first, second = csv.DictReader(stream)
    assert first["source"] == "a.png"
    assert float(first["error_px"]) == float(first["error_px_fh1"]) == 5
    assert (float(first["aop_true_deg"]), float(first["aop_error_deg"])) == (90, 0)
    assert (second["source"], second["status"]) == ("b, c.png", "no row")
    assert second["error_px"] == second["error_px_ps1"] == second["aop_error_deg"] == ""
    assert second["aop_true_deg"] == "90.0000"


def test_an_earlier_report_is_replaced(tmp_path, evaluated):
    (tmp_path / "metrics.json").write_text("old")
    write_report(tmp_path, *evaluated)
    assert json.loads((tmp_path / "metrics.json").read_text())["n"] == 2


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path, evaluated):
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="expected a folder"):
        write_report(tmp_path / "out", *evaluated)


def test_a_report_that_cannot_be_written_is_one_line(tmp_path, evaluated):
    (tmp_path / "metrics.json").mkdir()
    with pytest.raises(AopPoseError, match="could not write the report"):
        write_report(tmp_path, *evaluated)


def test_the_table_says_scale_and_missing(evaluated):
    _, errors, figures = evaluated
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(summary_table(figures, errors, "title"))
    text = console.export_text()
    assert "pixels of the original frames; 2 frames, 1 missing" in text
    assert "5.00 px" in text
    assert "252.50 px" in text
