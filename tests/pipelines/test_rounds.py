"""Rounds of pseudo-labels without a recipe: what trains on what, which round is kept, how frames are weighed.

The trainings are stubs: what is promised here is their order and what they hand on.
"""

import csv
import json
import shutil

import pytest

from tests.fakes import require_ultralytics

require_ultralytics()

import torch  # noqa: E402

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.formats.iugc import COLUMNS  # noqa: E402
from aop_pose.pipelines.yolo.recipe import choose, rule_of  # noqa: E402
from aop_pose.pseudo.label import COLUMNS_OF_TABLE, Rule  # noqa: E402
from aop_pose.pseudo.run import Cut, read_origin  # noqa: E402
from aop_pose.pseudo.signals import Noise  # noqa: E402
from tests.pipelines.conftest import train_tiny, weights_of  # noqa: E402
from tests.pipelines.killing import Killed  # noqa: E402
from tests.pipelines.stub_trainer import stubbed  # noqa: E402

LABELLED = 7

pytestmark = pytest.mark.usefixtures("teachers")


@pytest.fixture(scope="module")
def pseudo_set(phantom_set, tmp_path_factory):
    """Labels for the first phantoms; the others' true points as pseudo-labels, the last one dropped."""
    folder = tmp_path_factory.mktemp("pseudo") / "set"
    shutil.copytree(phantom_set, folder)
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (folder / "labels.csv").open("w") as file:
        table = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        table.writeheader()
        table.writerows(rows[:LABELLED])
    with (folder / "pseudo.csv").open("w") as file:
        table = csv.DictWriter(file, COLUMNS_OF_TABLE, extrasaction="ignore", restval="0.5")
        table.writeheader()
        table.writerows({**row, "keep": str(int(row is not rows[-1])), "reason": ""} for row in rows[LABELLED:])
    return folder


def in_rounds(data, out, rounds, **settings):
    options = {"pseudo": "pseudo.csv", "rounds": rounds}
    with stubbed():
        return train_tiny(data, out, "epochs=1", options=options, **settings)


def names_in(table):
    with table.open() as file:
        return [row["Filename"] for row in csv.DictReader(file)]


def test_a_second_round_labels_the_same_frames_anew(pseudo_set, tmp_path):
    """The first round is what ``train --pseudo`` is; both begin from the same weights; dropped frames get a chance."""
    in_rounds(pseudo_set, tmp_path / "once", 1)
    assert not (tmp_path / "once" / "stages").exists()

    def kill(line):
        if line == "stage 3-weighted-2":
            raise Killed

    with pytest.raises(Killed):
        in_rounds(pseudo_set, tmp_path / "run", 2, say=kill)
    record = in_rounds(pseudo_set, tmp_path / "run", 2, resume=True)
    stages = tmp_path / "run" / "stages"
    assert list(record["stages"]) == ["1-weighted-1", "2-pseudo-2.csv", "3-weighted-2"]
    first, once = weights_of(stages / "1-weighted-1"), weights_of(tmp_path / "once")
    assert all(torch.equal(first[key], once[key]) for key in once)
    assert names_in(stages / "2-pseudo-2.csv") == names_in(pseudo_set / "pseudo.csv")
    assert json.loads((stages / "2-pseudo-2.run.json").read_text())["model"].startswith("1-weighted-1@")
    assert record["stages"]["3-weighted-2"]["from"] == record["stages"]["1-weighted-1"]["from"] == "scratch"
    assert [one["round"] for one in record["candidates"]] == [1, 2]
    assert (tmp_path / "run" / "report.html").is_file()
    assert record["finished"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("0007.png", "0000.png"), "found 0000.png also in --labels"),
        (lambda text: text.replace(",1,,", ",0,,"), "expected at least one frame with keep = 1"),
        (lambda text: text.replace("0.5", "nan"), "weight"),
    ],
)
def test_bad_tables_leave_nothing_behind(pseudo_set, tmp_path, change, message):
    data = tmp_path / "set"
    shutil.copytree(pseudo_set, data)
    (data / "pseudo.csv").write_text(change((data / "pseudo.csv").read_text()))
    with pytest.raises(UsageError, match=message):
        in_rounds(data, tmp_path / "run", 2)
    assert not (tmp_path / "run").exists()


def fake_runs(folder, *errors):
    runs = {}
    for number, error in enumerate(errors):
        run = folder / f"run-{number}"
        run.mkdir()
        best = {"epoch": 1, "val/mre_px": error}
        (run / "run.json").write_text(json.dumps({"method": "yolo", "config": {}, "best": best}))
        runs[number] = run
    return runs


@pytest.mark.parametrize(
    ("errors", "chosen"),
    [((3, 2, 4), 1), ((3, 2, 2), 2), ((2, 3), 0), ((None, None, None), 2), ((5,), 0)],
)
def test_the_least_error_is_chosen_and_of_equals_the_last(tmp_path, errors, chosen):
    choice = choose(fake_runs(tmp_path, *errors))
    assert choice.round == chosen
    assert choice.run.name == f"run-{chosen}"
    assert ("no frame was set aside" in choice.why) == (errors[0] is None)
    assert [one["val/mre_px"] for one in choice.candidates] == list(errors)


def test_frames_are_weighed_as_the_table_was(tmp_path):
    table = tmp_path / "pseudo.csv"
    assert rule_of(None, read_origin(table)) == rule_of(None) == (Rule(), Cut())
    told = {
        "confidence": "noise", "draws": 3, "seed": 4, "min_score": 0.2, "cut": {"above": None, "quantile": 0.1},
        "noise": {"shift": 0.1, "rotation": 1, "scale": 0, "gamma": 0, "speckle": 0}, "model": "x@1", "kept": 3,
    }  # fmt: skip
    (tmp_path / "pseudo.run.json").write_text(json.dumps(told))
    rule, cut = rule_of(None, read_origin(table))
    assert rule == Rule("noise", 3, 4, 0.2, Noise(0.1, 1, 0, 0, 0))
    assert cut == Cut(quantile=0.1)
    assert rule_of("entropy", read_origin(table))[0] == Rule("entropy", 3, 4, 0.2, Noise(0.1, 1, 0, 0, 0))
    with pytest.raises(UsageError, match="--confidence: expected one of steady"):
        rule_of("magic")


def test_a_stage_stands_in_the_record_before_it_can_finish(pseudo_set, tmp_path, monkeypatch):
    """A kill -9 between a finished stage and the next line would leave the page without its entry."""
    from aop_pose.pipelines import run as stages

    real, seen = stages.pseudo_label, []

    def look(*arguments, **options):
        seen.append(json.loads((tmp_path / "run" / "run.json").read_text())["stages"])
        return real(*arguments, **options)

    monkeypatch.setattr(stages, "pseudo_label", look)
    in_rounds(pseudo_set, tmp_path / "run", 2)
    assert list(seen[0]) == ["1-weighted-1", "2-pseudo-2.csv"]
