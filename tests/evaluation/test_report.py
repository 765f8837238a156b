"""What is written can be read back and adds up to what is said."""

import csv
import io
import json

import attrs
import numpy as np
import pytest
from rich.console import Console

from aop_pose.core.schemas import FETAL_FACE
from aop_pose.errors import RESEARCH_USE, AopPoseError, UsageError
from aop_pose.evaluation.comparison import Comparison
from aop_pose.evaluation.figures import promised
from aop_pose.evaluation.grouping import every_frame_alone
from aop_pose.evaluation.match import Matched
from aop_pose.evaluation.report.files import per_frame, summary_table, write_texts
from aop_pose.evaluation.report.tables import whole_percent
from aop_pose.stats.bootstrap import Estimate
from tests.evaluation.comparisons import comparison_of_angles, matched_of

TRUTH = np.array([[[100.0, 100.0], [0.0, 100.0], [100.0, 200.0]]] * 2)
SIZES = np.array([[300.0, 400.0]] * 2)


@pytest.fixture
def evaluated():
    """Two frames, of which the second was not measured."""
    predicted = np.add(TRUTH, [3.0, 4.0])
    predicted[1] = np.nan
    matched = attrs.evolve(matched_of(predicted, TRUTH, SIZES), names=("a.png", "b, c.png"))
    return Comparison.of(matched, every_frame_alone(2), made_by={"models": ["m@1"]})


def test_all_files_stand_and_nothing_else(tmp_path, evaluated):
    out = tmp_path / "new" / "folder"
    named = evaluated.write(out)
    assert [path.name for path in named] == ["metrics.json", "per_frame.csv", "report.html"]
    assert sorted(out.iterdir()) == sorted(named)
    written = json.loads((out / "metrics.json").read_text())
    assert written == {**evaluated.figures, "manifest": {"models": ["m@1"]}}
    assert written["mre_px"] == 5
    assert RESEARCH_USE in (out / "report.html").read_text()


def test_the_promised_keys_stand_first_and_every_figure_has_its_interval_or_null(evaluated):
    entries, first = evaluated.figures, promised(evaluated.errors)
    assert list(entries)[: len(first)] == list(first)
    for name, estimate in evaluated.estimates.items():
        assert entries[name] == (None if np.isnan(estimate.value) else pytest.approx(estimate.value, abs=1e-6))
        assert entries[f"{name}_ci"] is None
    assert "fewer than 20 groups (1)" in entries["ci_withheld"]


@pytest.mark.filterwarnings("error")
def test_an_evaluation_in_which_nothing_was_measured_is_still_written(tmp_path):
    nothing = matched_of(np.full_like(TRUTH, np.nan), TRUTH, SIZES)
    Comparison.of(nothing, every_frame_alone(2)).write(tmp_path)
    assert "No frame was measured" in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "metrics.json").read_text())["mre_px"] is None


def test_per_frame_has_a_row_for_every_true_frame_and_no_invented_zero(tmp_path, evaluated):
    evaluated.write(tmp_path)
    with open(tmp_path / "per_frame.csv", newline="", encoding="utf-8") as stream:
        first, second = csv.DictReader(stream)
    assert first["source"] == "a.png"
    assert float(first["error_px"]) == float(first["error_px_fh1"]) == 5
    assert (float(first["aop_true_deg"]), float(first["aop_error_deg"])) == (90, 0)
    assert (second["source"], second["status"]) == ("b, c.png", "abstained")
    assert second["error_px"] == second["error_px_ps1"] == second["aop_error_deg"] == ""
    assert second["aop_true_deg"] == "90.0000"


def test_an_earlier_report_is_replaced(tmp_path, evaluated):
    (tmp_path / "metrics.json").write_text("old")
    evaluated.write(tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["n"] == 2


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path, evaluated):
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="expected a folder"):
        evaluated.write(tmp_path / "out")


def test_a_report_that_cannot_be_written_is_one_line(tmp_path, evaluated):
    (tmp_path / "metrics.json").mkdir()
    with pytest.raises(AopPoseError, match="could not write the report"):
        evaluated.write(tmp_path)


def text_of(comparison, **settings):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(summary_table(comparison, **settings))
    return " ".join(console.export_text().split())


def test_the_table_says_scale_and_missing(evaluated):
    text = text_of(evaluated)
    assert "pixels of the original frames; 2 frames, 1 missing, 1 group" in text
    assert "intervals withheld: fewer than 20 groups (1)" in text
    assert "5.00 px" in text
    assert "252.50 px" not in text


def test_figures_with_missing_ones_stand_in_a_column_named_for_what_it_is_when_asked_for(evaluated):
    text = text_of(evaluated, with_missing=True)
    assert "252.50 px" in text
    assert "a missing one" in text


def test_intervals_are_judged_in_the_terminal_in_pictures_and_in_volumes():
    stated = [[95, 105], [100, 108], [80, 85]]
    angles = comparison_of_angles([100, 104, 90], [101] * 3, stated)
    assert "AoP inside the stated interval 66.7 %" in plain(text_of(angles))
    truth = np.repeat([[[0.0, 0, 0], [30, 0, 0], [30, 40, 0]]], 2, axis=0)
    intervals = {"eye_distance_mm": np.array([[35.0, 45], [20, 30]])}
    names = ("0.mha", "1.mha")
    matched = Matched(
        FETAL_FACE, names, ("ok",) * 2, truth, truth, np.full((2, 3), 9), np.full(2, 100.0), intervals=intervals
    )
    compared = Comparison.of(matched, every_frame_alone(2))
    assert compared.figures["eye_distance_mm_interval_coverage"] == 0.5
    assert "distance of the eyes inside the stated interval 50.0 %" in plain(text_of(compared))
    first, second = per_frame(compared)
    assert (first["eye_distance_mm_covered"], second["eye_distance_mm_covered"]) == (1, 0)


def plain(table):
    """The words of a table without its lines."""
    return " ".join(table.replace("│", " ").split())


def test_a_name_that_is_no_text_stops_no_report(tmp_path):
    """The bytes of a file name that the locale does not know come as surrogates, which UTF-8 cannot write."""
    write_texts(tmp_path, {"report.html": "results of b\udcfcld"})
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "results of b?ld"


def test_a_share_near_the_end_is_told_with_its_bound():
    assert whole_percent(Estimate(1.0, None, 12, "few", 0.779)) == "100 %, at least 78 %"
    assert whole_percent(Estimate(0.0, None, 12, "few", 0.221)) == "0 %, at most 22 %"
    assert whole_percent(Estimate(0.9, (0.8, 0.95))) == "90 [80, 95] %"
