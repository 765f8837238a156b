"""How much a command says, and where: --quiet, --verbose, --log, --json, narrow terminals and other alphabets."""

import json
import os
import re
import subprocess
import sys

import pytest

from aop_pose.cli.main import COMMANDS, run
from aop_pose.inference.weights import shipped_phantoms


@pytest.fixture(scope="module")
def frames():
    return [str(path) for path in sorted((shipped_phantoms() / "images").glob("*.png"))[:2]]


def predict(frames, out, *words):
    return run(["predict", *frames, "--out", str(out), "--no-gate", "--no-overlay", *words])


def test_a_run_ends_with_what_it_found_and_where_it_is(frames, tmp_path, capsys):
    assert predict(frames, tmp_path / "out") == 0
    first, spread, places, after = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{tmp_path / 'out'}: 2 frames (2 ok, 0 abstained, 0 unreadable).")
    assert re.fullmatch(r"AoP: median \d+\.\d°, from \d+\.\d° to \d+\.\d° \(2 frames\)", spread)
    assert places == f"table: {tmp_path / 'out' / 'results.csv'}"
    assert after.endswith(f"aop-pose evaluate {tmp_path / 'out'} labels.csv --out evaluation")


def test_one_frame_is_one_frame(frames, tmp_path, capsys):
    assert predict(frames[:1], tmp_path / "out") == 0
    first, value = capsys.readouterr().out.splitlines()[:2]
    assert ": 1 frame (1 ok" in first
    assert re.fullmatch(r"AoP: \d+\.\d° \(1 frame\)", value)


def test_json_is_one_document_whatever_else_is_asked_for(frames, tmp_path, capsys):
    assert predict(frames, tmp_path / "out", "--json", "--quiet") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert said.err == ""
    assert found["frames"] == 2
    assert found["counts"] == {"ok": 2, "abstained": 0, "unreadable": 0}
    assert found["lowest"] <= found["median"] <= found["highest"]
    assert (found["quantity"], found["overlays"], found["contact_sheets"]) == ("aop_deg", None, [])


def test_quiet_leaves_errors_alone(frames, tmp_path, capsys):
    assert predict(frames, tmp_path / "out", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert predict(frames, tmp_path / "out", "-q") == 2
    assert capsys.readouterr().err.startswith("aop-pose: error: --out: ")


def test_verbose_says_where_an_error_arose(tmp_path, capsys):
    assert run(["predict", str(tmp_path / "none"), "--out", str(tmp_path / "out"), "--verbose"]) == 2
    assert "discover.py" in capsys.readouterr().err
    assert run(["predict", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_log_grows_by_lines_with_the_time(frames, tmp_path, capsys):
    log = tmp_path / "log.txt"
    assert predict(frames, tmp_path / "out", "--log", str(log), "-q") == 0
    assert predict(frames, tmp_path / "out", "--log", str(log)) == 2
    lines = log.read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} ", line) for line in lines)
    assert any("2 frames (2 ok" in line for line in lines)
    assert " error: --out: " in lines[-1]


def test_a_log_that_cannot_be_written_is_said_before_any_work(frames, tmp_path, capsys):
    assert predict(frames, tmp_path / "out", "--log", str(tmp_path)) == 2
    assert "--log: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_quiet_and_verbose_exclude_each_other(capsys):
    assert run(["weights", "verify", "-q", "-v"]) == 2
    assert "exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_narrow_terminal(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert run([command, "--help"]) == 0
    lines = capsys.readouterr().out.split("Example:")[0].splitlines()
    # A name of an option and ten columns of its text stand side by side, whatever the width.
    assert [line for line in lines if len(line) > 50 and len(line.split()) > 2] == []


def test_a_table_whose_words_do_not_fit_is_said_line_by_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert run(["weights", "list"]) == 0
    said = capsys.readouterr().out
    assert "\naop-fast\n  schema: aop (default)\n  size: " in said
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["weights", "list"]) == 0
    assert " aop-fast " in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["dataset"], ["weights"]])
def test_a_list_of_commands_says_whole_sentences(words, capsys):
    assert run([*words, "--help"]) == 0
    commands = capsys.readouterr().out.split("Commands:")[1].split("Example:")[0]
    assert "..." not in commands
    assert commands.count(".\n") == len(re.findall(r"^  \w", commands, re.MULTILINE))


def test_names_are_those_of_the_labels_in_a_locale_that_knows_no_utf_8(tmp_path):
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "aop_pose", "predict", "bärbel 测量.png".encode(), "--out", tmp_path]
    ended = subprocess.run(command, capture_output=True, env=os.environ | locale, timeout=120)
    assert ended.returncode == 2
    assert "found nothing at 'bärbel 测量.png'" in ended.stderr.decode()


def test_a_terminal_without_a_degree_sign_is_no_error(frames, tmp_path):
    command = [sys.executable, "-m", "aop_pose", "predict", *frames, "--out", str(tmp_path / "out"), "--no-gate"]
    ended = subprocess.run(
        command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "iso8859-5"}, check=True, timeout=120
    )
    assert re.search(rb"AoP: median \d+\.\d\?, from", ended.stdout)
