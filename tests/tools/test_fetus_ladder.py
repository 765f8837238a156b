"""The ladder of FetusMapV2: a rehearsal of every arm, equal memory, a table worked out by hand, and going on."""

import json
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
import fetus_ladder  # noqa: E402

from aop_pose.errors import UsageError  # noqa: E402
from tests.tools.page_commands import words_of  # noqa: E402


def rows_of(out, number=0):
    """By arm, the cells of a table by their heads; tables stand apart by an empty line."""
    lines = [line for line in out.split("\n\n")[number].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert len({len(row) for row in cells}) == 1
    return {row[0].split(":")[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}


def options(*more):
    return fetus_ladder.parser().parse_args([*fetus_ladder._DRY, *more])


def run_of(arm, seed, named, exchanged=None, seconds=10.0):
    """The JSON of an arm on volumes whose points are all as many mm off; lists are by volume."""
    exchanged = [value + 1 for value in named] if exchanged is None else exchanged
    volumes = {
        f"{number}.nii.gz": {
            "named_mm": [value] * 22, "exchanged_mm": [None] * 10 + [other] * 12, "diagonal_mm": 100.0,
            "mean_mm": [value, (10 * value + 12 * min(value, other)) / 22],
        }
        for number, (value, other) in enumerate(zip(named, exchanged, strict=True))
    }  # fmt: skip
    return {
        "arm": arm, "start": "fetus", "seed": seed, "size": [8, 8, 8], "bytes_of_a_step": 2**29, "volumes": volumes,
        "train_cpu_seconds": seconds, "errors": {name: one["mean_mm"] for name, one in volumes.items()},
    }  # fmt: skip


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    place = tmp_path_factory.mktemp("ladder")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(sys, "argv", ["fetus_ladder.py", *words_of("fetus_ladder"), "--dry", "--runs", str(place)])
    assert fetus_ladder.main() == 0
    monkeypatch.undo()
    return place / "dry"


def test_a_rehearsal_runs_every_arm(rehearsed):
    done = {path.stem: json.loads(path.read_text()) for path in (rehearsed / "results").iterdir()}
    assert set(done) == {f"{arm}-fetus-0" for arm in "UPLRS"}
    plain, pair, larger, refined, surest = (done[f"{arm}-fetus-0"] for arm in "UPLRS")
    assert (plain["config"]["pair"], pair["config"]["pair"]) == (False, True)
    assert plain["config"] | {"pair": True} == pair["config"]
    # A larger input in no more memory; the refinement has L's network and trains nothing.
    assert np.prod(larger["size"]) > np.prod(pair["size"])
    assert larger["bytes_of_a_step"] <= pair["bytes_of_a_step"]
    assert (refined["size"], refined["train_cpu_seconds"]) == (larger["size"], None)
    assert refined["facts"]["refinement"]["steps"] == 8
    assert refined["volumes"] != larger["volumes"]
    assert [run["facts"]["refinement"]["on"] for run in (refined, surest)] == ["paper", "surest"]
    assert refined["volumes"] != surest["volumes"] != larger["volumes"]
    assert all(len(one["named_mm"]) == 22 for one in plain["volumes"].values())


def test_what_is_finished_is_not_run_again(rehearsed, monkeypatch, capsys):
    def forbidden(*arguments, **named):
        raise AssertionError("ran an arm that is finished")

    monkeypatch.setattr(fetus_ladder, "run_arm", forbidden)
    results = f"--results={rehearsed / 'results'}"
    fetus_ladder.run_all(options("--seeds=1", f"--runs={rehearsed}", results))
    assert list(rows_of(capsys.readouterr().out)) == list("UPLRS")


def test_the_table_by_hand():
    done = {
        ("U", "fetus"): {seed: run_of("U", seed, [4.0, 8.0], [9.0, 2.0]) for seed in (0, 1)},
        ("P", "fetus"): {0: run_of("P", 0, [3.0, 5.0], seconds=20.0)},
        ("R", "fetus"): {0: run_of("R", 0, [3.0, 3.0], seconds=None)},
        ("S", "fetus"): {0: run_of("S", 0, [2.0, 2.0], seconds=None)},
    }
    rows = rows_of("\n".join(fetus_ladder.table(done)))
    assert (rows["U"]["seeds"], rows["U"]["GiB a step"], rows["U"]["CPU s"]) == ("2", "0.500", "10")
    assert rows["U"]["mean mm"].startswith("6.00 [")
    # Exchanged, the limbs of the second volume are 2 mm off instead of 8.
    assert rows["U"]["up to a swap"].startswith(f"{(4 + (80 + 24) / 22) / 2:.2f} [")
    assert (rows["U"]["sides exchanged"], rows["P"]["sides exchanged"]) == ("50 %", "0 %")
    # 1 - 4 / 20 and 1 - 8 / 20.
    assert rows["U"]["PCK AUC"] == "70.0 %"
    assert rows["P"]["mm - arm before"].startswith("-2.00 [")
    # L is not there: R is paired with P, the arm before it.
    assert rows["R"]["mm - arm before"].startswith("-1.00 [")
    assert rows["R"]["CPU s"] == "-"
    # R and S are two ways on from the same arm.
    assert rows["S"]["mm - arm before"].startswith("-2.00 [")
    points = rows_of("\n".join(fetus_ladder.table(done)), 1)
    assert list(points) == ["U", "P", "R", "S"]
    assert (points["U"]["cranial_crest"], points["P"]["rump"]) == ("6.0", "4.0")


def test_a_missing_point_counts_as_the_diagonal_in_the_table():
    run = run_of("U", 0, [4.0, 8.0])
    run["volumes"]["0.nii.gz"]["named_mm"][0] = None
    rows = rows_of("\n".join(fetus_ladder.table({("U", "fetus"): {0: run}})))
    assert rows["U"]["missing"] == "1 of 44"
    assert rows["U"]["PCK AUC"] == f"{100 * (21 * 0.8 + 22 * 0.6) / 44:.1f} %"


def test_nothing_finished_is_said():
    assert list(fetus_ladder.table({})) == ["no finished arm"]


def test_the_planned_input_is_the_largest_that_fits(monkeypatch):
    """Bytes that are the voxels, for the planned network half of them: 16 x 8 x 8 holds 2048 planned voxels."""

    def counted(arm, size, given):
        return int(np.prod(size)) // (2 if arm == "L" else 1)

    monkeypatch.setattr(fetus_ladder, "bytes_of", counted)
    sizes = fetus_ladder.sizes_of(options())
    assert (sizes.planned, sizes.planned_bytes, sizes.plain_bytes) == ((20, 10, 10), 1000, 1024)
    monkeypatch.setattr(fetus_ladder, "bytes_of", lambda arm, size, given: int(np.prod(size)))
    with pytest.raises(UsageError, match="holds a larger planned input"):
        fetus_ladder.sizes_of(options())
