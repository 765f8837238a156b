"""``aop-pose pseudo-label`` as a person meets it: exit codes, one line for an error, resumption after a kill."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from aop_pose.cli import main
from aop_pose.cli.annotate import pseudo_label
from aop_pose.pseudo.signals import CONFIDENCES, DEFAULT, DRAWS
from tests.fakes import write_frames
from tests.tiny_artefact import write_artefact


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with an artefact that answers any frame, and eight frames."""
    monkeypatch.chdir(tmp_path)
    write_artefact(tmp_path / "tiny.onnx", threshold=0)
    write_frames(tmp_path / "frames", 8)
    return tmp_path


def run(capsys, *arguments):
    code = main.run(["pseudo-label", "--weights", "tiny.onnx", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def names(file):
    with open(file, newline="", encoding="utf-8") as stream:
        return [row["Filename"] for row in csv.DictReader(stream)]


def test_the_defaults_of_the_command_are_those_of_the_library():
    assert pseudo_label.__defaults__ is not None
    defaults = dict(
        zip(
            pseudo_label.__code__.co_varnames[2 : pseudo_label.__code__.co_argcount],
            pseudo_label.__defaults__,
            strict=True,
        )
    )
    assert (defaults["confidence"], defaults["draws"]) == (DEFAULT, DRAWS)


def test_the_help_names_every_confidence(capsys):
    main.run(["pseudo-label", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(name in text.replace("- ", "-") for name in CONFIDENCES)


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_every_confidence_labels_a_folder(capsys, place, confidence):
    code, out, err = run(capsys, "--images", "frames", "--out", "p.csv", "--confidence", confidence, "--draws", "1")
    # The artefact gives pixels for points: whether a frame is kept is chance, that each has a row is not.
    assert code in (0, 1), err
    assert names("p.csv") == [f"00{i}.png" for i in range(8)]
    assert ("research use only" in out) == (code == 0)


def test_an_unreadable_frame_has_a_row_and_the_exit_code_3(capsys, place, monkeypatch):
    (place / "frames" / "list.txt").write_text("000.png\n001.png\n002.png\n003.png\ngone.png\n")
    code, out, err = run(capsys, "--images", "frames", "--list", "list.txt", "--out", "p.csv", "--min-score", "0")
    assert names("p.csv")[-1] == "gone.png"
    assert code in (1, 3)
    assert "1 by unreadable" in out or "1 unreadable" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "nowhere"], "--images: expected a folder, found none at nowhere"),
        (["--images", "frames", "--confidence", "hope"], "--confidence: expected one of steady, noise,"),
        (["--images", "frames", "--keep-above", "0.5", "--keep-quantile", "0.5"], "found both"),
        (["--images", "frames", "--keep-above", "1.5"], "Invalid value for '--keep-above'"),
        (["--images", "frames", "--device", "tpu"], "--device: expected cpu or cuda"),
        (["--images", "frames", "--list", "gone.txt"], "no file gone.txt"),
        (["--images", "frames", "--list", "both.txt", "--val", "val.csv"], "found 001.png also in frames/val.csv"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(capsys, place, arguments, message):
    (place / "frames" / "both.txt").write_text("000.png\n001.png\n")
    (place / "frames" / "val.csv").write_text("Filename\n001.png\n")
    code, out, err = run(capsys, *arguments, "--out", "p.csv")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not [path for path in place.iterdir() if "p.csv" in path.name]


def test_a_network_of_another_schema_is_no_teacher(capsys, place):
    shutil.copy(write_artefact(place / "other.onnx", schema="head"), place / "tiny.onnx")
    code, _, err = run(capsys, "--images", "frames", "--out", "p.csv")
    assert code == 2
    assert err.count("\n") == 1


def test_kill_minus_nine_loses_no_row(capsys, place):
    """The same command again ends with the table that an undisturbed run gives."""
    for i in range(8, 200):
        os.link(place / "frames" / f"00{i % 8}.png", place / "frames" / f"{i:03}.png")
    words = [sys.executable, "-m", "aop_pose", "pseudo-label", "--weights", "tiny.onnx", "--images", "frames"]
    assert run(capsys, "--images", "frames", "--out", "straight.csv")[0] == 0
    hidden = place / ".p.csv.rows"
    process = subprocess.Popen([*words, "--out", "p.csv"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (hidden.exists() and hidden.read_bytes().count(b"\n") > 20):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (place / "p.csv").exists()
    assert hidden.read_bytes().count(b"\n") > 20
    assert run(capsys, "--images", "frames", "--out", "p.csv")[0] == 0
    assert (place / "p.csv").read_bytes() == (place / "straight.csv").read_bytes()
    assert not hidden.exists()


def test_the_shipped_network_labels_real_frames(capsys, tmp_path, shared_data):
    """A few real frames of a list: rows in its order, which `dataset check` finds nothing wrong with."""
    data = shared_data / "psfhs"
    listed = tmp_path / "list.txt"
    listed.write_text("".join((data / "unlabelled.txt").read_text().splitlines(keepends=True)[::40]))
    out = tmp_path / "pseudo.csv"
    asked = ["--images", str(data), "--list", str(listed), "--labels", "labelled.csv", "--val", "val.csv"]
    assert main.run(["pseudo-label", "--weights", "aop-fast", *asked, "--out", str(out), "--draws", "2"]) == 0
    assert main.run(["dataset", "check", str(out), "--data", str(data)]) == 0
    assert names(out) == listed.read_text().split()
    assert "kept" in capsys.readouterr().out
