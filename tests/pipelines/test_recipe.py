"""The whole paper by one command: its run folder, restarts at and inside every stage, its page, and bad input."""

import csv
import json
import shutil

import numpy as np
import pytest

from tests.fakes import require_ultralytics

require_ultralytics()

import torch  # noqa: E402

from aop_pose.cli import main  # noqa: E402
from aop_pose.errors import AopPoseError, UsageError  # noqa: E402
from aop_pose.inference.predictor import Predictor  # noqa: E402
from aop_pose.pipelines import load_weights, pipeline  # noqa: E402
from aop_pose.pipelines.yolo import recipe as stages  # noqa: E402
from tests.pipelines.conftest import TINY, train_tiny, weights_of  # noqa: E402
from tests.pipelines.killing import Killed  # noqa: E402
from tests.pipelines.stub_trainer import stubbed  # noqa: E402

STAGES = ["1-boxes", "2-pose", "3-pseudo-1.csv", "4-weighted-1", "5-pseudo-2.csv", "6-weighted-2"]
LABELLED = 7

pytestmark = pytest.mark.usefixtures("teachers")


@pytest.fixture(scope="module")
def half_labelled(phantom_set, tmp_path_factory):
    """The phantom set with labels for its first frames only; ``unlabelled.txt`` names two of the others."""
    folder = tmp_path_factory.mktemp("half") / "set"
    shutil.copytree(phantom_set, folder)
    lines = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join(lines[: 1 + LABELLED]) + "\n")
    (folder / "unlabelled.txt").write_text("".join(f"{line.split(',')[0]}\n" for line in lines[-2:]))
    return folder


def run_recipe(data, out, rounds=2, listed=None, recipe="progressive", **settings):
    options = {"recipe": recipe, "segmenter": "geometry", "rounds": rounds, "frames": listed}
    return train_tiny(data, out, "epochs=2", options=options, **settings)


@pytest.fixture(scope="module")
def straight(half_labelled, tmp_path_factory):
    """Two rounds, whose trainings are stubs: what is promised of them is their order and what they hand on."""
    out = tmp_path_factory.mktemp("recipe") / "run"
    with stubbed():
        run_recipe(half_labelled, out)
    return out


@pytest.fixture
def stubs():
    with stubbed():
        yield


def record_of(run):
    return json.loads((run / "run.json").read_text())


def rows_of(table):
    with table.open() as file:
        return list(csv.DictReader(file))


def same_weights(one, other):
    first, second = weights_of(one), weights_of(other)
    return all(torch.equal(first[key], second[key]) for key in first)


def test_the_run_folder_is_whole(straight, half_labelled, tmp_path):
    names = {path.name for path in straight.iterdir()}
    assert names == {
        "run.json", "config.yaml", "metrics.csv", "curves.png", "weights", "report.html", "stages",
    }  # fmt: skip
    assert {path.name for path in (straight / "weights").iterdir()} == {"best.pt", "last.pt"}
    record = record_of(straight)
    assert record["finished"]
    assert list(record["stages"]) == STAGES
    assert [told["from"] for told in record["stages"].values()] == [
        "scratch", "1-boxes", "2-pose", "2-pose", "4-weighted-1", "2-pose",
    ]  # fmt: skip
    assert pipeline("yolo").export(straight, tmp_path / "x.onnx").contract.training_run["data"]["rounds"] == 2
    assert load_weights(str(straight)).schema.name == "aop"
    with stubbed():
        again = train_tiny(half_labelled, tmp_path / "next", "epochs=1", init=str(straight))
    assert again["tensors_transferred"][0] == again["tensors_transferred"][1]


def told_of(stage):
    record = record_of(stage)
    return {key: record["config"][key] for key in ("box_loss", "keypoint_loss", "weighted_terms")}, record["data"]


@pytest.mark.usefixtures("stubs")
def test_the_paper_as_written_and_the_refined_recipe(half_labelled, tmp_path):
    """Equations 10 to 14 with the preset of the paper; what is typed stays."""
    for recipe in ("progressive", "refined"):
        run_recipe(half_labelled, tmp_path / recipe, rounds=1, recipe=recipe, preset="paper")
    settings, _ = told_of(tmp_path / "progressive" / "stages" / "1-boxes")
    assert settings == {"box_loss": "mse", "keypoint_loss": "mse", "weighted_terms": "points-only"}
    for name in ("2-pose", "4-weighted-1"):
        settings, data = told_of(tmp_path / "progressive" / "stages" / name)
        assert settings["keypoint_loss"] == "mse"
        assert data["boxed_frames"] > 0
    assert record_of(tmp_path / "progressive")["data"]["confidence"] == "paper"
    settings, data = told_of(tmp_path / "refined" / "stages" / "4-weighted-1")
    assert settings == {"box_loss": "ciou", "keypoint_loss": "oks", "weighted_terms": "points"}
    assert "boxed_frames" not in data
    assert record_of(tmp_path / "refined")["data"]["confidence"] == "steady"


def test_the_whole_recipe_trains(half_labelled, tmp_path):
    """One round of one epoch, nothing stubbed: each stage learns from the one before."""
    options = {"recipe": "progressive", "segmenter": "geometry", "frames": "unlabelled.txt"}
    record = train_tiny(half_labelled, tmp_path / "run", "epochs=1", options=options)
    assert record["finished"]
    assert list(record["stages"]) == STAGES[:4]
    stages_of = tmp_path / "run" / "stages"
    for name in ("1-boxes", "2-pose", "4-weighted-1"):
        assert record_of(stages_of / name)["finished"]
        assert {path.name for path in (stages_of / name / "weights").iterdir()} == {"best.pt", "last.pt"}
    moved, tensors = record_of(stages_of / "4-weighted-1")["tensors_transferred"]
    assert moved == tensors
    assert not same_weights(stages_of / "2-pose", stages_of / "4-weighted-1")
    assert record["peak_memory_mb"] > 100


def test_the_stage_with_the_least_error_is_kept(straight):
    record = record_of(straight)
    told = record["candidates"]
    assert [(one["round"], one["stage"]) for one in told] == [(0, STAGES[1]), (1, STAGES[3]), (2, STAGES[5])]
    for one in told:
        stage = record_of(straight / "stages" / one["stage"])
        assert one["val/mre_px"] == stage["best"]["val/mre_px"]
    least = min(told, key=lambda one: one["val/mre_px"])
    assert (record["chosen"]["round"], record["chosen"]["stage"]) == (least["round"], least["stage"])
    chosen = straight / "stages" / least["stage"]
    assert (straight / "weights" / "best.pt").read_bytes() == (chosen / "weights" / "best.pt").read_bytes()
    assert (straight / "metrics.csv").read_text() == (chosen / "metrics.csv").read_text()
    assert record["best"] == record_of(chosen)["best"]


def test_no_frame_plays_two_parts(straight, half_labelled):
    """Labels, checks and pseudo-labels share no frame; boxes are made on the training labels alone."""
    parts = [
        {row["Filename"] for row in rows_of(straight / "stages" / name)}
        for name in ("labels.csv", "checks.csv", "3-pseudo-1.csv")
    ]
    everything = {path.name for path in (half_labelled / "images").iterdir()}
    assert all(parts)
    assert sum(len(part) for part in parts) == len(everything)
    assert set().union(*parts) == everything
    boxed = {path.name for path in (straight / "stages" / "1-boxes" / "boxes" / "images").rglob("*.png")}
    assert boxed <= parts[0]
    for stage in ("2-pose", "4-weighted-1", "6-weighted-2"):
        data = record_of(straight / "stages" / stage)["data"]
        assert (data["frames"], data["checked_frames"]) == (len(parts[0]), len(parts[1]))


def test_every_round_labels_by_the_round_before(straight):
    told = [json.loads((straight / "stages" / f"{name}.run.json").read_text()) for name in ("3-pseudo-1", "5-pseudo-2")]
    assert [one["model"].split("@")[0] for one in told] == ["2-pose", "4-weighted-1"]
    first, second = (rows_of(straight / "stages" / name) for name in (STAGES[2], STAGES[4]))
    assert [row["Filename"] for row in first] == [row["Filename"] for row in second]
    assert [row["PS1"] for row in first] != [row["PS1"] for row in second]


def test_the_page_needs_nothing_but_itself(straight):
    text = (straight / "report.html").read_text()
    assert len(text) < 200_000
    assert not any(word in text for word in ("http:", "https:", "src=", "<script", "@import"))
    assert "Not a medical device; research use only" in text
    assert all(stage in text for stage in STAGES)
    assert record_of(straight)["command"][:40] in text
    assert "4 of 4" in text or "3 of 3" in text


@pytest.mark.usefixtures("stubs")
def test_an_interrupted_run_goes_on_inside_each_stage(straight, half_labelled, tmp_path):
    """Killed in the second epoch of three trainings, in both labellings and after a stage; equal to a straight run."""
    out, said = tmp_path / "run", []
    stage = lambda: [line.split()[1].rstrip(":") for line in said if line.startswith("stage ")][-1]  # noqa: E731

    def kill_in(name):
        def on_batch(step):
            if stage() == name and (step.epoch, step.batch) == (2, 1):
                raise Killed

        def on_frames(done, total):
            if stage() == name and done == 1:
                raise Killed

        return {"on_batch": on_batch, "on_frames": on_frames, "say": said.append}

    for number, name in enumerate(["1-boxes", "2-pose", "3-pseudo-1.csv", "4-weighted-1", "5-pseudo-2.csv"]):
        with pytest.raises(Killed):
            run_recipe(half_labelled, out, resume=number > 0, **kill_in(name))
        assert record_of(out)["finished"] is False
        assert not (out / "report.html").exists()

    def kill_between(line):
        said.append(line)
        if line == "stage 6-weighted-2":
            raise Killed

    with pytest.raises(Killed):
        run_recipe(half_labelled, out, resume=True, say=kill_between)
    stamps = {path: path.stat().st_mtime_ns for path in (out / "stages").rglob("*") if path.is_file()}
    said.clear()
    run_recipe(half_labelled, out, resume=True, say=said.append)
    assert sum("finished before" in line for line in said) == 5
    kept = {path: stamp for path, stamp in stamps.items() if path.name not in ("labels.csv", "checks.csv")}
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())
    assert record_of(out)["candidates"] == record_of(straight)["candidates"]
    for name in ("2-pose", "4-weighted-1", "6-weighted-2"):
        assert same_weights(out / "stages" / name, straight / "stages" / name), name
    for name in (STAGES[2], STAGES[4]):
        assert (out / "stages" / name).read_text() == (straight / "stages" / name).read_text()


def test_a_finished_run_is_not_written_over(straight, half_labelled):
    with pytest.raises(UsageError, match="--resume"):
        run_recipe(half_labelled, straight)
    with pytest.raises(UsageError, match="is finished"):
        run_recipe(half_labelled, straight, resume=True)


@pytest.mark.usefixtures("stubs")
def test_resume_refuses_another_recipe_and_takes_up_a_stage_that_never_began(half_labelled, tmp_path):
    """Also where the run lies among the data: its own pictures are no frames without labels."""
    data = tmp_path / "set"
    shutil.copytree(half_labelled / "images", data)
    shutil.copyfile(half_labelled / "labels.csv", data / "labels.csv")

    def kill(line):
        if line.startswith("stage 2"):
            raise Killed

    with pytest.raises(Killed):
        run_recipe(data, data / "run", rounds=1, say=kill)
    assert any((data / "run").rglob("*.png"))
    with pytest.raises(UsageError, match="started with another data"):
        run_recipe(data, data / "run", rounds=2, resume=True)
    (data / "run" / "stages" / "2-pose" / "weights").mkdir(parents=True)
    with pytest.raises(Killed):
        run_recipe(data, data / "run", rounds=1, resume=True, on_batch=lambda step: (_ for _ in ()).throw(Killed))
    assert record_of(data / "run" / "stages" / "2-pose")["data"]["frames"] > 0


@pytest.mark.usefixtures("stubs")
def test_no_frame_kept_is_said_again_on_resume(half_labelled, tmp_path, monkeypatch):
    blind = lambda path, device: Predictor(  # noqa: E731
        stages_contract(path), lambda inputs: np.full((len(inputs), 11, 4), -5, np.float32), "blind@0"
    )
    monkeypatch.setattr(stages, "teacher_of", blind)
    for resume in (False, True):
        with pytest.raises(AopPoseError, match=r"no frame of 2 was kept.*3-pseudo-1\.csv says why") as failed:
            run_recipe(half_labelled, tmp_path / "run", rounds=1, listed="unlabelled.txt", resume=resume)
        assert failed.value.exit_code == 1
    assert record_of(tmp_path / "run")["finished"] is False


def stages_contract(path):
    return load_weights(str(path)).contract


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "progresive"], "--recipe: expected one of progressive, refined, found 'progresive'"),
        (["--recipe", "progressive", "--pseudo", "p.csv"], "--pseudo: expected it without --recipe"),
        (["--recipe", "progressive", "--boxes", "boxes"], "--boxes: expected it without --recipe"),
        (["--recipe", "progressive", "--confidence", "magic"], "--confidence: expected one of steady"),
        (["--recipe", "progressive", "--segmenter", "magic"], "segmenter: expected auto or one of"),
        (["--recipe", "progressive", "--set", "batch=3"], "batch: expected a multiple of 2"),
        (["--recipe", "progressive", "--list", "named.txt"], "expected frames without labels, found 0000.png"),
        (["--recipe", "progressive", "--val", "labels.csv"], "--val: 0000.png stands in --labels too"),
        (["--recipe", "progressive", "--labels", "all.csv"], "no frames to label in"),
        (["--recipe", "progressive", "--init", "none.pt"], "--init: expected auto, scratch"),
        (["--rounds", "2"], "--rounds: expected --pseudo FILE or --recipe progressive beside it"),
        (["--segmenter", "geometry"], "--segmenter: expected --recipe beside it"),
        (["--confidence", "steady"], "--confidence: expected --recipe, or --pseudo with --rounds"),
        (["--recipe", "progressive", "--rounds", "0"], "greater than or equal to 1"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(
    phantom_set, half_labelled, tmp_path, capsys, words, message
):
    (half_labelled / "named.txt").write_text("0000.png\n")
    shutil.copyfile(phantom_set / "labels.csv", half_labelled / "all.csv")
    tiny = [word for change in TINY for word in ("--set", change)]
    start = [] if "--init" in words else ["--init", "scratch"]
    code = main.run(["train", "--data", str(half_labelled), "--out", str(tmp_path / "run"), *tiny, *start, *words])
    told = capsys.readouterr().err
    assert code == 2, told
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "run").exists()
