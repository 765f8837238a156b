"""The curve of picked labels against labels by chance: what is finished is not done again, pairs are by seed."""

import json

import pick_curve
import pytest


def line(seed, arm, labels, aop, mre=10.0):
    return json.dumps({"seed": seed, "arm": arm, "labels": labels, "aop": aop, "mre": mre, "names": []})


def test_the_table_pairs_arms_by_seed_and_passes_half_a_line_over(tmp_path, capsys):
    rows = [
        line(0, "S", 60, 20),
        line(0, "P", 120, 12),
        line(0, "R", 120, 13),
        line(1, "S", 60, 22),
        line(1, "P", 120, 9),
    ]
    (tmp_path / "results.jsonl").write_text("\n".join(rows) + '\n{"seed": 1, "ar')
    pick_curve.main(["--data", "x", "--runs", str(tmp_path), "--table"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| 60 | 2 | 21.00° | the same |")
    # Seed 1 has no arm R yet.
    assert lines[3] == "| 120 | 1 | 12.00° | 13.00° | -1.00 | 10.0 px | 10.0 px |"


def test_the_curve_is_drawn_of_what_is_there(tmp_path):
    pytest.importorskip("matplotlib", reason="comes with the train extra")
    rows = [line(0, "S", 60, 20), line(0, "P", 120, 12), line(0, "R", 120, 13), line(0, "P", 180, 9)]
    (tmp_path / "results.jsonl").write_text("\n".join(rows))
    pick_curve.main(["--data", "x", "--runs", str(tmp_path), "--table", "--picture", str(tmp_path / "curve.png")])
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_training_that_has_ended_is_not_done_again(tmp_path, monkeypatch):
    made = []

    def run_one(key, names, pool, options):
        made.append(key)
        return json.loads(line(*key, 10.0)) | {"names": names}

    monkeypatch.setattr(pick_curve, "run_one", run_one)
    monkeypatch.setattr(pick_curve, "pool_of", lambda data, out: [])
    monkeypatch.setattr(pick_curve, "grown", lambda arm, names, *rest: [*names, arm])
    words = ["--data", "x", "--runs", str(tmp_path), "--seeds", "1", "--rounds", "2"]
    pick_curve.main(words)
    assert made == [(0, "S", 60), (0, "P", 120), (0, "R", 120), (0, "P", 180), (0, "R", 180)]
    pick_curve.main([*words[:-1], "3"])
    assert made[5:] == [(0, "P", 240), (0, "R", 240)]
    last = json.loads((tmp_path / "results.jsonl").read_text().splitlines()[-1])
    assert last["names"] == ["R", "R", "R"]
