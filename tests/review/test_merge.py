"""Several readers and rounds brought together: hand-worked consensus, ties, what moved, and what is refused."""

import csv
import json
import math

import numpy as np
import pytest

from aop_pose.cli.main import run
from aop_pose.core.schemas import AOP, HEAD
from aop_pose.errors import UsageError
from aop_pose.formats.registry import read_labels
from aop_pose.review.merge import Round, merge, read_rounds, robust_mean, scatter_of, write_merged
from tests.formats.made_up import picture, save

BASE = np.array([(60.0, 20), (20, 20), (60, 70)])


def readings(count, sd, seed, shift=(0, 0)):
    draw = np.random.default_rng(seed)
    return {f"{i:03d}.png": BASE + i % 7 + draw.normal(0, sd, (3, 2)) + np.array(shift) for i in range(count)}


def table(file, points, reader=""):
    lines = ["Filename,PS1,PS2,FH1" + (",reader" if reader else "")]
    for name, places in points.items():
        cells = ",".join(f'"({x:.6f}, {y:.6f})"' for x, y in places)
        lines.append(f"{name},{cells}" + (f",{reader}" if reader else ""))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


def rows(file):
    with open(file, newline="") as stream:
        return list(csv.DictReader(stream))


def test_two_readers_meet_in_the_middle_with_their_spread():
    one, other = {"a.png": BASE}, {"a.png": BASE + np.array([3, 4])}
    others = {f"{i}.png": BASE for i in range(3)}
    moved = {name: points + np.array([3, 4]) for name, points in others.items()}
    found = merge([Round("a", 1, "", one | others), Round("b", 1, "", other | moved)], AOP)
    at = found.consensus.names.index("a.png")
    np.testing.assert_allclose(found.consensus.coords[at], BASE + np.array([1.5, 2]))
    # 5 px apart: each is 2.5 from the mean, sqrt((2.5² + 2.5²) / 1) = 3.54.
    np.testing.assert_allclose(found.consensus.sds[at], np.sqrt(12.5))
    assert found.consensus.readers[at] == 2
    # Both moved alike: the angle stays.
    assert found.consensus.spreads["AoP_sd"][at] == pytest.approx(0, abs=1e-9)
    assert found.scatter["a"] == pytest.approx(found.scatter["b"])
    (pair,) = found.moved
    np.testing.assert_allclose(pair.distances, 5)


def test_a_careful_reader_counts_for_more():
    given = {"a": readings(300, 1, 1), "b": readings(300, 1, 2), "c": readings(300, 5, 3)}
    scatter, _ = scatter_of(given)
    assert scatter["a"] == pytest.approx(1, rel=0.25)
    assert scatter["b"] == pytest.approx(1, rel=0.25)
    assert scatter["c"] == pytest.approx(5, rel=0.15)
    found = merge([Round(name, 1, "", points) for name, points in given.items()], AOP)
    true = np.array([BASE + int(name[:3]) % 7 for name in found.consensus.names])
    error = np.linalg.norm(found.consensus.coords - true, axis=-1).mean()
    plain = np.mean([np.linalg.norm(np.mean([given[r][n] for r in given], axis=0) - t, axis=-1).mean()
                     for n, t in zip(found.consensus.names, true, strict=True)])  # fmt: skip
    assert error < 0.6 * plain


def test_one_reading_far_off_moves_the_mean_little():
    points = np.array([(10.0, 10), (10.5, 10), (60, 10)])
    assert np.linalg.norm(robust_mean(points, np.ones(3)) - (10.25, 10)) < 1.5
    # By hand: two readings weigh as one over the squares, 4 to 1.
    np.testing.assert_allclose(robust_mean(np.array([(0.0, 0), (1, 0)]), np.array([1.0, 2])), (0.2, 0))


def test_two_readers_who_are_apart_leave_the_picture_to_a_third(tmp_path):
    one, other = readings(30, 1, 1), readings(30, 1, 2)
    other["007.png"] = other["007.png"] + np.array([(0, 0), (0, 0), (40, 0)])
    rounds = [Round("a", 1, "", one), Round("b", 1, "", other)]
    found = merge(rounds, AOP)
    (tie,) = found.ties
    assert (tie.name, tie.readers, tie.points) == ("007.png", 2, ("FH1",))
    assert tie.apart == pytest.approx(40, abs=5)
    assert "007.png" not in found.consensus.names
    # A third one decides.
    third = merge([*rounds, Round("c", 1, "", {"007.png": one["007.png"] + 0.5})], AOP)
    assert third.ties == ()
    at = third.consensus.names.index("007.png")
    assert np.linalg.norm(third.consensus.coords[at, 2] - one["007.png"][2]) < 3
    write_merged(found, tmp_path / "c.csv")
    assert [row["Filename"] for row in rows(tmp_path / "c-agreement" / "third_reader.csv")] == ["007.png"]


def test_ends_of_an_axis_may_be_named_either_way_round():
    head = np.array([(10.0, 20), (50, 20), (30, 5), (30, 35)])
    swapped = head[[1, 0, 2, 3]]
    found = merge([Round("a", 1, "", {"h.png": head}), Round("b", 1, "", {"h.png": swapped})], HEAD)
    np.testing.assert_allclose(found.consensus.coords[0], head)
    assert set(found.consensus.spreads) == {"ofd_px_sd", "bpd_px_sd", "hc_px_sd"}


def test_rounds_of_a_reader_count_once_and_show_how_she_repeats_herself(tmp_path):
    first, again = readings(20, 2, 1), readings(20, 2, 4)
    table(tmp_path / "anna.csv", first, "anna")
    table(tmp_path / "later.csv", again, "anna")
    table(tmp_path / "ben.csv", readings(20, 2, 7))
    given, schema, _ = read_rounds([str(tmp_path / name) for name in ("anna.csv", "later.csv", "ben.csv")])
    assert [(one.reader, one.number) for one in given] == [("anna", 1), ("anna", 2), ("ben", 1)]
    found = merge(given, schema)
    assert [(pair.first, pair.second) for pair in found.moved] == [("anna", "anna-2"), ("anna", "ben")]
    assert set(found.consensus.readers) == {2}
    latest = merge(given, schema, latest=True)
    assert not np.allclose(latest.consensus.coords, found.consensus.coords)


def test_the_command_writes_what_training_and_evaluate_read(tmp_path, capsys):
    for name, seed in (("anna", 1), ("ben", 2), ("cleo", 3)):
        table(tmp_path / f"{name}.csv", readings(24, 2, seed))
    for i in range(24):
        save(tmp_path / "images" / f"{i:03d}.png", picture(i, 120, 100))
    files = [str(tmp_path / f"{name}.csv") for name in ("anna", "ben", "cleo")]
    out = tmp_path / "consensus.csv"
    assert run(["dataset", "merge", *files, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "anna -> ben: 24 pictures; moved by (median) PS1 " in said
    assert "scatter of each reader along one axis: anna " in said
    header = out.read_text().splitlines()[0]
    assert header == "Filename,PS1,PS2,FH1,AoP,PS1_sd_px,PS2_sd_px,FH1_sd_px,AoP_sd,readers"
    agreement = tmp_path / "consensus-agreement"
    assert sorted(path.name for path in agreement.iterdir()) == [
        "anna-ben", "anna-cleo", "anna.csv", "ben-cleo", "ben.csv", "cleo.csv", "moved.csv", "third_reader.csv"
    ]  # fmt: skip
    figures = json.loads((agreement / "anna-ben" / "metrics.json").read_text())
    assert figures["n"] == 24
    assert len(rows(agreement / "moved.csv")) == 3 * 24
    labels = read_labels(out, tmp_path)
    assert float(labels[0].extras["PS1_sd_px"]) > 0
    assert run(["dataset", "check", str(out), "--data", str(tmp_path)]) == 0
    assert run(["evaluate", str(tmp_path / "anna.csv"), str(out), "--out", str(tmp_path / "e")]) == 0
    assert json.loads((tmp_path / "e" / "metrics.json").read_text())["aop_label_sd_deg"] > 0
    # Nothing is replaced unasked.
    assert run(["dataset", "merge", *files, "--out", str(out)]) == 2
    assert run(["dataset", "merge", *files, "--out", str(out), "--overwrite"]) == 0


def review_log(folder, reader, lines, model="m"):
    (folder / "review").mkdir(parents=True, exist_ok=True)
    head = {"log": "aop-pose review", "version": 1, "reader": reader, "schema": "aop", "model": model}
    whole = {"reason": "", "note": "", "saw": [], "seconds": 1, "index": 0}
    text = "\n".join(json.dumps(line) for line in [head, *({**whole, **line} for line in lines)])
    (folder / "review" / f"{reader}.jsonl").write_text(text + "\n")
    return str(folder / "review" / f"{reader}.jsonl")


def test_logs_of_review_are_merged_with_files_of_tools(tmp_path):
    header = "source,index,width,height,status,reason,PS1_x,PS1_y,PS2_x,PS2_y,FH1_x,FH1_y,score,aop_deg,model"
    points = ",".join(f"{value}" for value in BASE.ravel())
    (tmp_path / "results.csv").write_text(f"{header}\n000.png,0,120,100,ok,,{points},0.9,90,m\n")
    placed = {"PS1": [61, 20], "PS2": [20, 20], "FH1": [60, 70]}
    log = review_log(tmp_path, "anna", [
        {"source": "000.png", "state": "accepted", "points": None, "saw": ["labels"]},
        {"source": "001.png", "state": "accepted", "points": placed},
        {"source": "002.png", "state": "accepted", "points": placed | {"FH1": None}},
        {"source": "003.png", "state": "rejected", "points": None},
        {"source": "004.avi", "index": 3, "state": "accepted", "points": placed},
    ])  # fmt: skip
    ben = table(tmp_path / "ben.csv", {"000.png": BASE, "001.png": BASE})
    given, schema, notes = read_rounds([log, str(ben)])
    assert [one.reader for one in given] == ["anna", "ben"]
    np.testing.assert_allclose(given[0].points["000.png"], BASE)
    np.testing.assert_allclose(given[0].points["001.png"][0], (61, 20))
    assert [note.partition(": ")[2][:40] for note in notes] == [
        "2 accepted by anna, 1 rejected, from the",
        "1 accepted as the model has them: reader",
        "before 1 of them others' points were sho",
        "left out 1 with a point that nobody mark",
        "left out 1 later frames of cines, which ",
    ]
    assert len(merge(given, schema).consensus.names) == 2
    assert notes[0].endswith("rejected, from the points of m")


def test_points_of_another_model_are_not_taken_for_those_that_were_accepted(tmp_path):
    """The run was measured anew by another model after the review: its table is no longer what the reader saw."""
    header = "source,index,width,height,status,reason,PS1_x,PS1_y,PS2_x,PS2_y,FH1_x,FH1_y,score,aop_deg,model"
    (tmp_path / "results.csv").write_text(f"{header}\n000.png,0,120,100,ok,,60,20,20,20,60,70,0.9,90,other@2\n")
    accepted = {"source": "000.png", "state": "accepted"}
    log = review_log(tmp_path, "anna", [accepted | {"points": None}], model="m@1")
    with pytest.raises(UsageError, match=r"expected the results of m@1, .*, found those of other@2"):
        read_rounds([log])
    placed = {"PS1": [61, 20], "PS2": [20, 20], "FH1": [60, 70]}
    log = review_log(tmp_path, "ben", [accepted | {"points": placed}], model="m@1")
    given, _, notes = read_rounds([log])
    np.testing.assert_allclose(given[0].points["000.png"][0], (61, 20))
    assert notes == [f"{log}: 1 accepted by ben, 0 rejected, from the points of m@1"]


def test_what_is_no_reading_is_refused(tmp_path):
    header = "source,index,width,height,status,reason,PS1_x,PS1_y,PS2_x,PS2_y,FH1_x,FH1_y,score,aop_deg,model"
    (tmp_path / "results.csv").write_text(f"{header}\na.png,0,120,100,ok,,60,20,20,20,60,70,0.9,90,m\n")
    with pytest.raises(UsageError, match="expected readings of people, found the results of a model"):
        read_rounds([str(tmp_path / "results.csv")])
    with pytest.raises(UsageError, match="found nothing there"):
        read_rounds([str(tmp_path / "none.csv")])
    for folder in ("x/anna", "y/anna"):
        table(tmp_path / folder / "labels.csv", {"a.png": BASE})
    files = [str(tmp_path / folder / "labels.csv") for folder in ("x/anna", "y/anna")]
    with pytest.raises(UsageError, match="nobody can tell who read it; say so: NAME="):
        read_rounds(files)
    given, _, _ = read_rounds([f"anna={files[0]}", f"ben={files[1]}"])
    assert [one.reader for one in given] == ["anna", "ben"]


def test_one_reader_alone_has_no_spread():
    found = merge([Round("a", 1, "", {"a.png": BASE})], AOP)
    assert np.isnan(found.consensus.sds).all()
    assert math.isnan(found.scatter["a"])
    np.testing.assert_allclose(found.consensus.coords[0], BASE)
