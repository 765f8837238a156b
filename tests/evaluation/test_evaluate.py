"""``aop_pose.evaluate``: what the command does, as a function; each figure says over how many images it is."""

import doctest
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from aop_pose import AOP, FETAL_FACE, Quantity, evaluate
from aop_pose.cli import main
from aop_pose.core.schema import SCHEMAS, length
from aop_pose.errors import UsageError
from aop_pose.evaluation import comparison as module
from aop_pose.evaluation.comparison import Comparison
from aop_pose.evaluation.grouping import every_frame_alone
from aop_pose.evaluation.match import Matched
from aop_pose.evaluation.report.files import summary_table
from aop_pose.evaluation.report.page import page

RIGHT = '"(60, 20)","(20, 20)","(60, 60)"'
HEADER = "source,width,height,status,PS1_x,PS1_y,PS2_x,PS2_y,FH1_x,FH1_y,aop_low,aop_high\n"


@pytest.fixture
def files(tmp_path):
    """Five frames: two measured, one without an angle (its ends in one place), two not measured."""
    (tmp_path / "truth.csv").write_text(
        "Filename,PS1,PS2,FH1,patient\n" + "".join(f"{name}.png,{RIGHT},p{name}\n" for name in "abcde")
    )
    rows = ["ok,60,20,20,20,60,65,80,100", "ok,60,24,20,20,60,60,,", "ok,60,20,60,20,60,60,,", "abstained,,,,,,,,"]
    (tmp_path / "results.csv").write_text(
        HEADER + "".join(f"{name}.png,80,60,{row}\n" for name, row in zip("abcd", rows, strict=True))
    )
    return tmp_path


def shown(compared):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(summary_table(compared))
    return console.export_text()


def test_the_example_of_its_docstring_runs():
    (example,) = doctest.DocTestFinder(recurse=False).find(evaluate, "evaluate")
    assert len(example.examples) > 5
    assert doctest.DocTestRunner().run(example).failed == 0


def test_it_writes_what_the_command_writes(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    written = evaluate("results.csv", "truth.csv", scale=512, group="patient").write("mine")
    words = ["results.csv", "truth.csv", "--scale", "512", "--group", "patient", "--out", "theirs"]
    assert main.run(["evaluate", *words]) == 0
    assert [path.name for path in written] == ["metrics.json", "per_frame.csv", "report.html"]
    for path in written:
        assert path.read_bytes() == (files / "theirs" / path.name).read_bytes(), path.name
    capsys.readouterr()


def test_figures_are_those_of_metrics_json(files):
    compared = evaluate(files / "results.csv", files / "truth.csv")
    compared.write(files / "out")
    written = json.loads((files / "out" / "metrics.json").read_text())
    del written["manifest"]
    assert compared.figures == written
    assert (written["n"], written["n_missing"], written["mre_px_fh1"]) == (5, 2, pytest.approx(5 / 3))


def test_rows_that_stand_in_no_file_are_compared_too(files):
    row = {"source": "a.png", "width": "80", "height": "60", **dict.fromkeys(AOP.coordinate_columns, "20")}
    assert evaluate([row], files / "truth.csv").figures["n_missing"] == 4


def test_what_does_not_fit_is_a_usage_error(files):
    for settings, message in (
        ({"group": "hospital"}, "--group: expected a column"),
        ({"group": "patient", "group_regex": "(.)"}, "expected one of --group and --group-regex"),
        ({"images": files / "nowhere"}, "a.png"),
    ):
        with pytest.raises(UsageError, match=message):
            evaluate(files / "results.csv", files / "truth.csv", **settings)


def test_a_figure_over_fewer_frames_than_were_measured_says_over_how_many(files):
    compared = evaluate(files / "results.csv", files / "truth.csv")
    figures = compared.figures
    # Three frames are measured; one of them has no angle, and one states an interval.
    for name in ("aop_mae_deg", "aop_median_deg", "aop_bias_deg", "aop_icc_2_1", "aop_at_120_accuracy"):
        assert figures[f"{name}_n"] == 2, name
    assert figures["aop_interval_coverage_n"] == 1
    assert not [name for name in figures if name.startswith(("mre", "mae", "sdr")) and name.endswith("_n")]
    # With missing ones all five count: 0 and 5.7 degrees, and three times 180.
    assert "aop_mae_deg_with_missing_n" not in figures
    assert figures["aop_mae_deg_with_missing"] == pytest.approx((0 + np.degrees(np.arctan2(4, 40)) + 3 * 180) / 5)
    assert "n = 2" in shown(compared)
    assert "n: images that have a value" in " ".join(shown(compared).split())
    html = page(compared, "research")
    assert "<small>n = 2</small>" in html
    assert "n: so many images have a value" in html


def test_a_figure_over_all_measured_frames_says_nothing(files):
    truth = files / "truth.csv"
    compared = evaluate(truth, truth)
    assert not [name for name in compared.figures if name.endswith("_n")]
    assert "n = " not in shown(compared) + page(compared, "research")


def test_a_true_frame_without_a_value_is_out_of_the_twin_too_and_the_twin_says_so(files):
    # Label files are checked for points in one place; another method's table is as it is.
    rows = [f"{name}.png,80,60,ok,60,20,20,20,60,60,," for name in "bcde"]
    (files / "other.csv").write_text(HEADER + "\n".join(["a.png,80,60,ok,60,20,60,20,60,60,,", *rows, ""]))
    figures = evaluate(files / "results.csv", files / "other.csv").figures
    assert (figures["aop_mae_deg_n"], figures["aop_mae_deg_with_missing_n"]) == (1, 4)
    assert "mre_px_with_missing_n" not in figures


def test_a_quantity_without_any_value_is_null_over_none(files):
    (files / "results.csv").write_text(HEADER + "a.png,80,60,ok,60,20,60,20,60,60,,\n")
    figures = evaluate(files / "results.csv", files / "truth.csv").figures
    assert (figures["aop_mae_deg"], figures["aop_mae_deg_n"], figures["mre_px_ps1"]) == (None, 0, 0)


def test_volumes_say_over_how_many_they_are():
    truth = np.repeat([[[0.0, 0, 0], [30, 0, 0], [30, 40, 0]]], 4, axis=0)
    predicted = truth.copy()
    predicted[0], predicted[1, 2] = np.nan, np.nan
    names = tuple(f"{number}.mha" for number in range(4))
    matched = Matched(FETAL_FACE, names, ("ok",) * 4, predicted, truth, np.full((4, 3), 9), np.full(4, 100.0))
    figures = Comparison.of(matched, every_frame_alone(4)).figures
    assert (figures["n"], figures["n_missing"], "mre_mm_n" in figures) == (4, 1, False)
    assert (figures["mre_mm_right_eye_n"], figures["eye_distance_mae_mm_n"]) == (2, 2)


def test_an_interval_is_over_the_groups_that_have_a_value():
    """Thirty volumes, fifteen of them with both eyes: too few for an interval of their distance, not of the brain's."""
    rng = np.random.default_rng(0)
    truth = np.repeat([[[0.0, 0, 0], [30, 0, 0], [30, 40, 0]]], 30, axis=0)
    predicted = truth + rng.normal(0, 2, truth.shape)
    predicted[:15, 2] = np.nan
    names = tuple(f"{number}.mha" for number in range(30))
    matched = Matched(FETAL_FACE, names, ("ok",) * 30, predicted, truth, np.full((30, 3), 9), np.full(30, 100.0))
    figures = Comparison.of(matched, every_frame_alone(30)).figures
    assert figures["mre_mm_brain_ci"] is not None
    assert figures["eye_distance_mae_mm_ci"] is None


@pytest.fixture
def width():
    """A quantity that the schema did not have, taken away afterwards."""
    before = AOP.quantities
    AOP.add(
        Quantity(
            "ps_width",
            "px",
            "PS width",
            length,
            ("PS1", "PS2"),
            interval="ps_width_px",
            within=(3,),
            thresholds={39: "made up"},
        )
    )
    yield
    object.__setattr__(AOP, "quantities", before)


def test_a_new_quantity_is_in_figures_table_and_report_without_any_other_edit(files, width):
    (files / "results.csv").write_text(
        HEADER.replace("\n", ",ps_width_px_low,ps_width_px_high\n")
        + "a.png,80,60,ok,60,20,22,20,60,60,80,100,36,41\nb.png,80,60,ok,60,20,15,20,60,60,80,100,44,46\n"
    )
    compared = evaluate(files / "results.csv", files / "truth.csv")
    figures = compared.figures
    assert (figures["ps_width_mae_px"], figures["ps_width_bias_px"]) == (3.5, 1.5)
    assert figures["ps_width_mae_px_with_missing"] == (2 + 5 + 3 * 100) / 5
    assert (figures["ps_width_within_3_px"], figures["ps_width_at_39_accuracy"]) == (0.5, 0.5)
    assert (figures["ps_width_interval_coverage"], figures["ps_width_interval_width_px"]) == (0.5, 3.5)
    assert "PS width mean abs. error" in shown(compared)
    assert "PS width within 3 px" in shown(compared)
    html = page(compared, "research")
    for words in ("Agreement in pixels", ">PS width<", "PS width at or above", "Within 3 px", "True value inside"):
        assert words in html, words
    # The angle stays the one that is plotted and that frames are cut by.
    assert compared.errors.main.name == "aop"
    assert "ps_width_true_px,ps_width_error_px" in compared.write(files / "out")[1].read_text()


def test_intervals_in_pixels_follow_the_scale(files, width):
    (files / "results.csv").write_text(
        HEADER.replace("\n", ",ps_width_px_low,ps_width_px_high\n") + "a.png,80,60,ok,60,20,22,20,60,60,,,36,41\n"
    )
    figures = evaluate(files / "results.csv", files / "truth.csv", scale=160).figures
    assert (figures["ps_width_interval_coverage"], figures["ps_width_interval_width_px"]) == (1, 10)


def test_no_measurement_is_named_where_it_is_evaluated():
    """Figures, tables and pages read the quantities of a schema; a name of one in a text would be a second list."""
    names = {one.name for schema in SCHEMAS.values() for one in schema.quantities}
    names |= {one.column for schema in SCHEMAS.values() for one in schema.quantities}
    room = Path(module.__file__).parent
    for file in [*room.rglob("*.py"), *(room.parent / "benchmark").glob("*.py")]:
        code = re.sub(r'""".*?"""', "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        found = {text for text in re.findall(r'"([^"\n]*)"', code)} & names
        assert not found, f"{file.name} names {found}"
