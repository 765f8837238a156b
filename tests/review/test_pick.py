"""Which frames to label next: doubt and difference, never near-duplicates, patients in turn."""

import csv
from collections import Counter

import numpy as np
import pytest

from aop_pose.cli.main import run
from aop_pose.formats.split import thumbnail
from aop_pose.review.pick import choose
from tests.fakes import textured
from tests.formats.made_up import picture, save
from tests.tiny_artefact import write_heatmap_artefact

POINTS = np.array([(40, 20), (15, 25), (45, 50)], float)


def unit(*values):
    vector = np.array(values, float)
    return vector / np.linalg.norm(vector)


def test_the_most_doubtful_of_unlike_frames_comes_first():
    like = np.eye(4)
    chosen = choose(np.array([1.0, 9, 4, 2]), like, np.full(4, -1.0), np.arange(4), Counter(), 3)
    assert [at for at, _ in chosen] == [1, 2, 3]
    assert chosen[0][1] == 2


def test_near_duplicates_of_labelled_and_of_chosen_frames_are_never_taken():
    like = np.stack([unit(1, 0, 0), unit(1, 0.01, 0), unit(0, 1, 0), unit(0, 0, 1)])
    doubts, nearest = np.array([9.0, 8, 1, 7]), np.array([0.0, 0, 0, 0.98])
    chosen = [at for at, _ in choose(doubts, like, nearest, np.arange(4), Counter(), 9)]
    assert chosen == [0, 2]


def test_patients_take_turns_and_the_labelled_ones_wait():
    doubts = np.arange(9, 0, -1.0)
    patients = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
    chosen = choose(doubts, np.eye(9), np.full(9, -1.0), patients, Counter({1: 1}), 6)
    assert [patients[at] for at, _ in chosen] == [0, 2, 0, 1, 2, 0]


def test_nothing_to_choose_from():
    assert choose(np.zeros(0), np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), Counter(), 3) == []


@pytest.fixture
def frames(tmp_path):
    for i in range(6):
        save(tmp_path / "frames" / f"p{i // 2}_{i}.png", picture(i, 64, 64))
    save(tmp_path / "frames" / "p0_again.png", (picture(0, 64, 64) * 0.9).astype(np.uint8))
    (tmp_path / "labels.csv").write_text('Filename,PS1,PS2,FH1\np0_0.png,"(30, 10)","(10, 10)","(30, 40)"\n')
    return tmp_path


def test_the_command_writes_a_table_without_what_is_labelled(frames, capsys):
    artefact = write_heatmap_artefact(frames / "tiny.onnx", POINTS)
    words = ["dataset", "pick", "--images", str(frames / "frames"), "--weights", str(artefact), "--draws", "2"]
    words += ["--labels", str(frames / "labels.csv"), "--out", str(frames / "next.csv")]
    assert run([*words, "--count", "3", "--group-regex", r"^(p\d)_"]) == 0
    assert "3 of 6 frames without a label; 1 are near-duplicates of labelled ones" in capsys.readouterr().out
    with open(frames / "next.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["Filename", "rank", "doubt", "distance"]
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    names = [row["Filename"] for row in rows]
    assert not {"p0_0.png", "p0_again.png"} & set(names)
    # Of p0 one frame is labelled already.
    assert {name[:2] for name in names[:2]} == {"p1", "p2"}
    assert run([*words, "--count", "3"]) == 2
    first = (frames / "next.csv").read_bytes()
    assert run([*words, "--count", "3", "--group-regex", r"^(p\d)_", "--overwrite"]) == 0
    assert (frames / "next.csv").read_bytes() == first
    assert run([*words, "--count", "50", "--overwrite"]) == 0
    assert "asked for 50: there are no more" in capsys.readouterr().err


def test_thumbnails_of_a_brighter_copy_are_alike():
    assert thumbnail(textured(1)) @ thumbnail((textured(1) * 0.8).astype(np.uint8)) > 0.97
