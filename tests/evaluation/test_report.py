"""What is written can be read back and adds up to what is said."""

import csv
import io
import json

import numpy as np
import pytest
from rich.console import Console

from aop_pose.core.schemas import AOP
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.evaluation.comparison import study
from aop_pose.evaluation.errors import frame_errors, summarise
from aop_pose.evaluation.grouping import every_frame_alone
from aop_pose.evaluation.match import Matched
from aop_pose.evaluation.report.files import summary_table, with_intervals, write_report
from aop_pose.evaluation.report.page import Heading, page

TRUTH = np.array([[[100.0, 100.0], [0.0, 100.0], [100.0, 200.0]]] * 2)


@pytest.fixture
def evaluated():
    predicted = np.add(TRUTH, [3.0, 4.0])
    predicted[1] = np.nan
    sizes = np.array([[300.0, 400.0]] * 2)
    matched = Matched(AOP, ("a.png", "b, c.png"), ("ok", "no row"), predicted, TRUTH, sizes, ())
    errors = frame_errors(predicted, TRUTH, sizes)
    return study(matched, errors, every_frame_alone(2)), summarise(errors), "<html></html>", {"models": ["m@1"]}


def test_all_files_stand_and_nothing_else(tmp_path, evaluated):
    write_report(tmp_path / "new" / "folder", *evaluated)
    out = tmp_path / "new" / "folder"
    assert sorted(path.name for path in out.iterdir()) == ["metrics.json", "per_frame.csv", "report.html"]
    compared, figures, html, _ = evaluated
    written = json.loads((out / "metrics.json").read_text())
    assert written == {**with_intervals(figures, compared), "manifest": {"models": ["m@1"]}}
    assert written["mre_px"] == 5
    assert (out / "report.html").read_text() == html


def test_what_was_there_stays_as_it_was_and_the_new_keys_follow(evaluated):
    compared, figures, *_ = evaluated
    entries = with_intervals(figures, compared)
    assert list(entries)[: len(figures)] == list(figures)
    assert {name: entries[name] for name in figures} == figures
    for name, estimate in compared.estimates.items():
        assert entries[name] == (None if np.isnan(estimate.value) else pytest.approx(estimate.value, abs=1e-6))
        assert entries[f"{name}_ci"] is None
    assert "fewer than 20 groups (1)" in entries["ci_withheld"]


@pytest.mark.filterwarnings("error")
def test_an_evaluation_in_which_nothing_was_measured_is_still_written(tmp_path):
    predicted, sizes = np.full_like(TRUTH, np.nan), np.array([[300.0, 400.0]] * 2)
    errors = frame_errors(predicted, TRUTH, sizes)
    matched = Matched(AOP, ("a.png", "b.png"), ("abstained",) * 2, predicted, TRUTH, sizes, ())
    compared = study(matched, errors, every_frame_alone(2))
    html = page(compared, summarise(errors), Heading("r", "t", "research"), [])
    write_report(tmp_path, compared, summarise(errors), html, {})
    assert "No frame was measured" in html
    assert json.loads((tmp_path / "metrics.json").read_text())["mre_px"] is None


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
    compared, figures, *_ = evaluated
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(summary_table(figures, compared, "title"))
    text = console.export_text()
    assert "pixels of the original frames; 2 frames, 1 missing, 1 groups" in text
    assert "intervals withheld: fewer than 20 groups (1)" in " ".join(text.split())
    assert "5.00 px" in text
    assert "252.50 px" in text
