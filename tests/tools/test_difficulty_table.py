"""The tables behind intervals and looks: what they print of frames whose errors are known."""

import sys

import pytest

from tests.tiny_artefact import write_heatmap_artefact
from tests.tools.test_calibrate import EACH_ALONE, TRIANGLE, off_by

pytest.importorskip("onnx", reason="onnx comes with the train extra")
import difficulty_table
import looks_table


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """81 frames whose angles are off by 0 to 8 degrees, evenly, and an artefact that always answers the same."""
    folder = tmp_path_factory.mktemp("table")
    artefact = write_heatmap_artefact(folder / "a.onnx", TRIANGLE)
    return str(artefact), str(off_by(folder / "data", 4.0))


def run(tool, monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", [tool.__name__, *words, *EACH_ALONE])
    return tool.main(), capsys.readouterr()


def test_every_difficulty_has_a_row_and_so_has_the_choice_among_them(monkeypatch, capsys, given):
    artefact, data = given
    more = ("--on", artefact, "labels.csv", "--few", "30")
    code, said = run(difficulty_table, monkeypatch, capsys, "--data", data, *more)
    assert code == 0
    assert "81 frames in 81 groups; mean error 4.05" in said.out
    rows = [line.split("|")[1].strip() for line in said.out.splitlines() if line.startswith("| `")]
    assert rows == [
        "`plain`", "`score`", "`looks`", "`geometry`", "`geometry-looks`", "`spread`", "`geometry-spread`",
        "`propagated-spread`", "`the narrowest of the other folds`",
    ]  # fmt: skip
    assert "`plain`, calibrations on 30 groups: coverage 0." in said.out
    code, again = run(difficulty_table, monkeypatch, capsys, "--data", data, *more, "--quantity", "aop_deg")
    assert (code, again.out) == (0, said.out)
    code, said = run(difficulty_table, monkeypatch, capsys, "--data", data, *more, "--quantity", "hc_mm")
    assert code == 2
    assert "--quantity: expected one of aop_deg" in said.err


def test_a_coverage_that_is_none_is_refused(monkeypatch, capsys, given):
    artefact, data = given
    more = ("--on", artefact, "labels.csv", "--coverage", "1.5")
    code, said = run(difficulty_table, monkeypatch, capsys, "--data", data, *more)
    assert code == 2
    assert said.err == "difficulty_table: error: --coverage: expected a share between 0 and 1, found 1.5\n"


def test_the_errors_of_each_number_of_looks_stand_in_a_row(monkeypatch, capsys, given):
    artefact, data = given
    more = ("--labels", "labels.csv", "--looks", "1", "2")
    code, said = run(looks_table, monkeypatch, capsys, artefact, "--data", data, *more)
    assert code == 0
    head, _, once, twice = said.out.splitlines()
    assert head.startswith("| looks | n | AoP mean absolute error | median | 90th percentile |")
    assert once.startswith("| 1 | 81 | 4.05° [")
    assert twice.startswith("| 2 | 81 | ")
