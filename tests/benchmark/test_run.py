"""A benchmark from plan to page; training and measuring are stood in for."""

import json
import re

import numpy as np
import pytest

from aop_pose.benchmark import run as module
from aop_pose.benchmark.compare import difference_of
from aop_pose.benchmark.plan import Budget, Pace, Plan
from aop_pose.benchmark.run import benchmark, find_pace, measure, train_and_export
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.registry import read_labels
from aop_pose.phantom.write import write_phantoms
from aop_pose.pipelines import PIPELINES
from aop_pose.stats.agreement import holm
from aop_pose.stats.bootstrap import Resampling

NOTICE = "research use"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """60 phantoms in labels.csv, cut into 20 that learn and 40 that are measured."""
    folder = tmp_path_factory.mktemp("data") / "set"
    write_phantoms(folder, count=60, seed=3, size=64)
    header, *rows = (folder / "labels.csv").read_text().splitlines(keepends=True)
    (folder / "labels.csv").write_text("".join([header, *rows[:20]]))
    (folder / "val.csv").write_text("".join([header, *rows[20:]]))
    return folder


@pytest.fixture(autouse=True)
def two_methods(monkeypatch):
    monkeypatch.setitem(PIPELINES, "good", "nowhere")
    monkeypatch.setitem(PIPELINES, "poor", "nowhere")
    monkeypatch.setattr(module, "pipeline", lambda method: Checked)


class Checked:
    """Stands for a pipeline that knows the setting ``lr``, and that there are epochs."""

    @staticmethod
    def settings(stage, job):
        assert stage == "train"
        for change in job.changes:
            if not change.startswith(("lr=", "epochs=")):
                raise UsageError(f"--set: no setting {change!r}")


class Work:
    """Stands for training and measuring: ``poor`` errs by 4 pixels and 2 degrees more than ``good``."""

    def __init__(self, fails=()):
        self.done, self.fails, self.tasks = [], set(fails), {}

    def __call__(self, function, task, *rest):
        if function is find_pace:
            return Pace(fixed=10, epoch=10 if task.method == "good" else 25)
        if task.name in self.fails:
            raise AopPoseError("the loss is not a number")
        self.tasks[task.name] = task
        if function is train_and_export:
            self.done.append((task.name, *rest))
            return {
                "training": {"wall_seconds": 60.0, "peak_memory_mb": 900, "machine": "2 cores", "start": "scratch"},
                "artefact": {"model_id": f"{task.name}@1", "bytes": 5_000_000},
            }
        assert function is measure
        names = [frame.name for frame in read_labels(task.tested, task.data)]
        rng = np.random.default_rng(0)
        more = (4, 2) if task.method == "poor" else (0, 0)
        errors = {
            name: [float(10 + more[0] + task.seed + rng.normal()), float(5 + more[1] + rng.normal())] for name in names
        }
        measuring = {"ms_per_frame": 8.0, "peak_memory_mb": 150}
        return {"measuring": measuring, "figures": {"n_missing": 0}, "errors": errors}


def plan(data, **changes):
    settings = {"methods": ["good", "poor"], "budget": Budget.parse("2e"), "seeds": 2, "val": "val.csv"}
    return Plan(data, **{**settings, **changes})


def test_from_plan_to_table(data, tmp_path):
    work = Work()
    benchmark(plan(data), tmp_path / "out", notice=NOTICE, work=work)
    assert work.done == [("good-0", 2), ("poor-0", 2), ("good-1", 2), ("poor-1", 2)]
    record = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    good, poor = record["methods"]
    assert poor["mre_px"] - good["mre_px"] == pytest.approx(4)
    assert good["mre_px_sd_over_seeds"] == pytest.approx(0.5**0.5)
    assert good["mre_px_ci"][0] < good["mre_px"] < good["mre_px_ci"][1]
    pair = record["pairs"][0]
    assert (pair["first"], pair["second"], pair["metric"], pair["seeds"]) == ("good", "poor", "mre_px", 2)
    assert pair["difference"] == pytest.approx(-4)
    assert [each["p_holm"] for each in record["pairs"]] == pytest.approx(holm([each["p"] for each in record["pairs"]]))
    assert pair["p"] < 0.01
    table = (tmp_path / "out" / "table.md").read_text()
    assert re.search(r"\| good \| 2 \| 10\.\d\d \[", table)
    assert re.search(r"\| good - poor \| MRE, px of 512 \| 2 \| -4\.00 ", table)
    assert NOTICE in table
    assert "aop-pose benchmark --data" in table


def test_the_page_needs_nothing_but_itself(data, tmp_path):
    benchmark(plan(data), tmp_path / "out", notice=NOTICE, work=Work())
    page = (tmp_path / "out" / "benchmark.html").read_text()
    assert page.count("<svg") == 2
    assert not re.search(r"https?://|src=|<link|<script", page)
    assert NOTICE in page


def test_every_method_learns_and_checks_the_same_frames(data, tmp_path):
    work = Work()
    benchmark(plan(data), tmp_path / "out", work=work)
    for seed in range(2):
        good, poor = work.tasks[f"good-{seed}"], work.tasks[f"poor-{seed}"]
        assert (good.labels, good.check, good.tested) == (poor.labels, poor.check, poor.tested)
        learned = {frame.name for frame in read_labels(good.labels, data)}
        checked = {frame.name for frame in read_labels(good.check, data)}
        assert len(learned) + len(checked) == 20
        assert not learned & checked


def test_without_a_file_to_measure_whole_groups_of_the_labels_are_held_out(data, tmp_path):
    work = Work()
    done = benchmark(plan(data, val=None), tmp_path / "out", work=work)
    task = work.tasks["good-0"]
    sets = [{f.name for f in read_labels(file, data)} for file in (task.labels, task.check, task.tested)]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 20
    assert done.withheld.startswith("fewer than 20 groups")
    assert {(pair.p, pair.difference.interval) for pair in done.pairs} == {(None, None)}
    assert "withheld" in (tmp_path / "out" / "table.md").read_text()


def test_an_interval_that_is_missing_has_its_reason_below_the_table(data, tmp_path):
    """25 groups are enough for a test and too few for the interval of a mean error."""
    few = "".join((data / "val.csv").read_text().splitlines(keepends=True)[:26])
    (data / "few.csv").write_text(few)
    benchmark(plan(data, val="few.csv"), tmp_path / "out", work=Work())
    table = (tmp_path / "out" / "table.md").read_text()
    assert re.search(r"\| good \| 2 \| \d+\.\d\d \|", table)
    assert len(re.findall(r"Where there is none: fewer than 30 groups \(2\d\)", table)) == 1


def test_wall_time_becomes_epochs_once_a_method(data, tmp_path):
    work = Work()
    benchmark(plan(data, budget=Budget.parse("110s")), tmp_path / "out", work=work)
    assert work.done == [("good-0", 10), ("poor-0", 4), ("good-1", 10), ("poor-1", 4)]


def test_resume_repeats_nothing_that_is_finished(data, tmp_path):
    with pytest.raises(AopPoseError, match=r"poor-0 \(the loss is not a number\); --resume"):
        benchmark(plan(data), tmp_path / "out", work=Work(fails=["poor-0"]))
    # What could be compared was: the pair over the one seed that both have.
    assert "poor 1 of 2" in (tmp_path / "out" / "table.md").read_text()
    work = Work()
    benchmark(plan(data), tmp_path / "out", resume=True, work=work)
    assert work.done == [("poor-0", 2)]
    assert "not finished" not in (tmp_path / "out" / "table.md").read_text()


def test_resume_may_add_methods_and_seeds_but_change_nothing_else(data, tmp_path):
    out = tmp_path / "out"
    benchmark(plan(data, methods=["good"], seeds=1), out, work=Work())
    work = Work()
    benchmark(plan(data), out, resume=True, work=work)
    assert [name for name, _ in work.done] == ["poor-0", "good-1", "poor-1"]
    with pytest.raises(UsageError, match="budget was 2e"):
        benchmark(plan(data, budget=Budget.parse("3e")), out, resume=True, work=Work())
    with pytest.raises(UsageError, match="is not empty; add --resume"):
        benchmark(plan(data), out, work=Work())
    with pytest.raises(UsageError, match="expected a benchmark"):
        benchmark(plan(data), tmp_path / "elsewhere", resume=True, work=Work())


def test_a_frame_that_is_learned_and_measured_is_an_error(data, tmp_path):
    with pytest.raises(UsageError, match=r"stands in --labels too \(20 such frames\)"):
        benchmark(plan(data, val="labels.csv"), tmp_path / "out", work=Work())


def test_wrong_usage_leaves_nothing_behind(data, tmp_path):
    with pytest.raises(UsageError, match="expected time for an epoch"):
        benchmark(plan(data, budget=Budget.parse("12s")), tmp_path / "out", work=Work())
    assert not (tmp_path / "out").exists()


def test_unknown_methods_are_named_with_those_there_are(data):
    with pytest.raises(UsageError, match=r"expected some of yolo.*, found hrnet, x"):
        plan(data, methods=["good", "hrnet", "x"])


def test_settings_for_all_and_for_one(data):
    made = plan(data, changes=("batch=4", "good.image_size=64", "poor.lr0=0.1"))
    assert made.changes_of("good") == ["batch=4", "image_size=64"]
    assert made.changes_of("poor") == ["batch=4", "lr0=0.1"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [(("lr=1", "poor.nonsense=2"), "no setting 'nonsense=2'"), (("unet.lr=1",), "unet.lr=1 is for a method")],
)
def test_settings_are_checked_before_the_first_training(data, tmp_path, changes, words):
    work = Work()
    with pytest.raises(UsageError, match=words):
        benchmark(plan(data, changes=changes), tmp_path / "out", work=work)
    assert not work.done
    assert not (tmp_path / "out").exists()


class Blind(Work):
    """``poor`` measures nothing."""

    def __call__(self, function, task, *rest):
        found = super().__call__(function, task, *rest)
        if function is measure and task.method == "poor":
            found["figures"]["n_missing"] = len(found["errors"])
        return found


def test_a_method_that_measured_nothing_has_no_errors_and_no_tests(data, tmp_path):
    done = benchmark(plan(data), tmp_path / "out", notice=NOTICE, work=Blind())
    assert not done.pairs
    table = (tmp_path / "out" / "table.md").read_text()
    assert re.search(r"\| poor \| 2 \| nothing measured \| nothing measured \| - / - \|", table)
    assert "Poor measured nothing with any seed, and is compared with nothing." in table
    record = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert (record["methods"][1]["mre_px"], record["methods"][1]["mre_px_ci"], record["pairs"]) == (None, None, [])


def test_the_spread_between_seeds_counts_in_a_difference():
    """A gap of 1 that groups agree on and seeds do not: 0, 1 and 2 px; error sqrt(1 / 3) on 2 degrees of freedom."""
    rng = np.random.default_rng(0)
    frames = rng.normal(0, 0.01, 40)
    groups = np.arange(40)
    gaps = np.array([0.0, 1, 2])[:, None] + frames - frames.mean()
    three, p_three = difference_of(gaps, groups, Resampling(groups))
    one, p_one = difference_of(gaps[1:2], groups, Resampling(groups))
    assert three.value == pytest.approx(one.value) == pytest.approx(1)
    # t quantile of 2 degrees of freedom: 4.3027; P(|t| > sqrt(3)) on them: 0.2254.
    assert three.interval == pytest.approx((1 - 4.3027 / 3**0.5, 1 + 4.3027 / 3**0.5), abs=0.01)
    assert p_three == pytest.approx(0.2254, abs=0.001)
    assert p_one < 0.001
    assert one.interval[1] - one.interval[0] < 0.02


def test_one_seed_is_said_beside_the_number(data, tmp_path):
    benchmark(plan(data, seeds=1), tmp_path / "out", work=Work())
    assert "< 0.001 (one seed) |" in (tmp_path / "out" / "table.md").read_text()
