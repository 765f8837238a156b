import re

import pytest
from typer.testing import CliRunner

from aop_pose.cli.dataset import app
from aop_pose.cli.main import run
from tests.formats.made_up import iugc_folder, masks_folder


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_convert_says_what_was_written(tmp_path):
    result = invoke("convert", iugc_folder(tmp_path / "src", 5), tmp_path / "out", "--to", "yolo-pose")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"iugc -> yolo-pose: 5 frames in {tmp_path / 'out'}, 1 of them in val, 0 left out"
    ]


def test_convert_names_what_was_left_out(tmp_path):
    source = masks_folder(tmp_path / "src")
    (source / "masks" / "01.png").unlink()
    result = invoke("convert", source, tmp_path / "out", "--to", "iugc", "--from", "masks")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == ["aop-pose: note: left out 01.png: no mask 01 in masks/"]


def test_check_exits_0_when_clean_and_1_with_findings(tmp_path):
    source = iugc_folder(tmp_path / "src")
    clean = invoke("check", source)
    assert (clean.exit_code, clean.stdout) == (0, "4 rows, no findings\n")
    (source / "images" / "02.png").unlink()
    bad = invoke("check", source / "labels.csv")
    assert bad.exit_code == 1
    finding, summary = bad.stdout.splitlines()
    assert finding.startswith(f"{source / 'labels.csv'}:4: no picture 02.png")
    assert summary == "4 rows, 1 finding"


def test_split_says_how_large_both_sides_are(tmp_path):
    result = invoke("split", iugc_folder(tmp_path / "src", 10), tmp_path / "out", "--val", "0.2")
    assert result.exit_code == 0
    assert "train.csv: 8 frames in 8 groups" in result.stdout
    assert "val.csv: 2 frames in 2 groups" in result.stdout


def test_phantoms_pass_the_check_and_convert(tmp_path):
    made = invoke("phantom", tmp_path / "p", "--count", "2", "--seed", "7", "--size", "128")
    assert made.exit_code == 0, made.output
    assert invoke("check", tmp_path / "p").stdout == "2 rows, no findings\n"
    assert invoke("convert", tmp_path / "p", tmp_path / "d", "--to", "yolo-detect").exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["convert", "SRC", "OUT", "--to", "cocoa"],
        ["convert", "SRC", "SRC", "--to", "iugc"],
        ["check", "NONE"],
        ["split", "SRC", "OUT", "--val", "2"],
        ["phantom", "OUT", "--count", "1", "--device", "nothing"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(tmp_path, capsys, words):
    places = {
        "SRC": str(iugc_folder(tmp_path / "src")), "OUT": str(tmp_path / "out"), "NONE": str(tmp_path / "none")
    }  # fmt: skip
    assert run(["dataset", *(places.get(word, word) for word in words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("aop-pose: error: ")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["convert", "check", "split", "phantom"])
def test_help_shows_one_real_example(command):
    text = invoke(command, "--help").stdout
    assert len(re.findall(rf"aop-pose dataset {command} ", text)) == 1
