"""What every pipeline promises, on the tiniest data: pretrain, train, Ctrl-C, resume, predict, export, and refusals."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import numpy as np
import pytest

from tests.fakes import require_ultralytics

require_ultralytics()
pytest.importorskip("lightning", reason="lightning comes with the train extra")
pytest.importorskip("timm", reason="timm comes with the train extra")

import torch  # noqa: E402

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.io.folders import locked  # noqa: E402
from aop_pose.io.images import read_frame  # noqa: E402
from aop_pose.io.volumes import read_volume  # noqa: E402
from aop_pose.pipelines import PIPELINES, load_weights, method_of, open_weights, pipeline  # noqa: E402
from aop_pose.pipelines.job import Job  # noqa: E402
from tests.pipelines import conftest, hrnet_tiny, unet_tiny  # noqa: E402
from tests.pipelines.fetusmap import tiny as fetusmap_tiny  # noqa: E402
from tests.pipelines.killing import interrupted_at, rows_of  # noqa: E402


@attrs.frozen
class Case:
    """The tiniest run of a pipeline."""

    train: Callable[..., dict[str, Any]]
    settings: tuple[str, ...]
    pretrain: dict[str, Any] | None
    """Options of its pre-training; None = it has none."""
    unused: str
    """A setting of its that ``train`` does not use, or that it does not have."""
    volumes: bool = False


CASES = {
    # The segmenter that needs no weights.
    "yolo": Case(conftest.train_tiny, tuple(conftest.TINY), {"segmenter": "geometry"}, "box_loss=mse"),
    "unet": Case(unet_tiny.train_unet, unet_tiny.TINY, {}, "mask_share=0.5"),
    "hrnet-gan": Case(hrnet_tiny.train_hrnet, hrnet_tiny.TINY, {}, "moco_epochs=3"),
    "fetusmap": Case(fetusmap_tiny.train_tiny, fetusmap_tiny.TINY, None, "phantoms=3", volumes=True),
}


@attrs.frozen
class Runs:
    """What one pipeline made: ``first`` to start from, ``straight``, and ``run``, which was interrupted and resumed."""

    method: str
    case: Case
    data: Any
    folder: Any
    code: int
    told: str
    """Exit code of the interrupted command, and what it wrote to stderr."""
    after: dict[str, Any]
    """run.json of the interrupted run."""

    @property
    def settings(self):
        return {"init": str(self.folder / "first")}

    def train(self, out, *changes, **settings):
        return self.case.train(self.data, self.folder / out, *changes, **settings)


@pytest.fixture(scope="module", params=CASES)
def runs(request, phantom_set, faces, tmp_path_factory):
    """A first stage, a training from it, and the same interrupted by Ctrl-C in its second epoch and resumed."""
    method, case, folder = request.param, CASES[request.param], tmp_path_factory.mktemp(f"contract-{request.param}")
    data = faces if case.volumes else phantom_set
    make = partial(case.train, data)
    verb = {} if case.pretrain is None else {"verb": "pretrain", "options": case.pretrain}
    # As in the process that is interrupted; Ultralytics takes every core in both.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    make(folder / "first", "epochs=1", **verb)
    settings = {"init": str(folder / "first")}
    make(folder / "straight", "epochs=2", **settings)
    chosen = pipeline(method)
    changes = [*chosen.useful("train", case.settings), "epochs=2"]
    words = ["train", "--method", method, "--data", str(data), "--out", str(folder / "run"), "--init", settings["init"]]
    words += [word for change in changes for word in ("--set", change)]
    code, told = interrupted_at(2, 1, words)
    after = json.loads((folder / "run" / "run.json").read_text())
    chosen.resume(Job(data, folder / "run", changes=changes, **settings))
    torch.set_num_threads(threads)
    return Runs(method, case, data, folder, code, told, after)


def test_every_pipeline_is_under_contract():
    assert set(CASES) == set(PIPELINES)


def test_ctrl_c_exits_130_and_names_resume(runs):
    """A real signal to a real process; what was trained is there."""
    assert runs.code == 130, runs.told
    lines = [line for line in runs.told.splitlines() if "interrupted" in line]
    assert lines == ["aop-pose: interrupted; the same command with --resume continues from the last finished epoch"]
    assert "Traceback" not in runs.told
    assert runs.after["finished"] is False


def test_a_resumed_run_equals_a_straight_one(runs):
    one, other = runs.folder / "straight", runs.folder / "run"
    assert [row["epoch"] for row in rows_of(other)] == ["1", "2"]
    assert rows_of(other) == rows_of(one)
    networks = [open_weights(str(run)).network for run in (one, other)]
    found = [getattr(network, "network", None) or network.module for network in networks]
    states = [network.state_dict() for network in found]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_run_folder_is_whole(runs):
    for name in ("first", "run"):
        run = runs.folder / name
        for file in ("run.json", "config.yaml", "metrics.csv", "curves.png", "weights/best.pt", "weights/last.pt"):
            assert (run / file).is_file(), f"{name}/{file}"
        assert not [path.name for path in (run / "weights").iterdir() if path.name.startswith("resume")]
        assert not list(run.rglob("*.part"))
    assert method_of(runs.folder / "run") == method_of(runs.folder / "run" / "weights" / "best.pt") == runs.method
    columns = rows_of(runs.folder / "run")[0]
    assert {"train", "val"} <= {name.split("/")[0] for name in columns}


def test_the_record_says_how_the_run_came_about(runs):
    for name in ("first", "run"):
        record = json.loads((runs.folder / name / "run.json").read_text())
        stage = "pretrain" if name == "first" and runs.case.pretrain is not None else "train"
        found = (record["method"], record["stage"], record["finished"], record["seed"], record["device"])
        assert found == (runs.method, stage, True, 0, "cpu")
        assert {"config", "git_commit", "command", "started", "start", "schema", "precision", "machine"} <= set(record)
        assert {"aop-pose", "python", "numpy", "torch"} <= set(record["versions"])
        assert record["device_name"]
        assert record["wall_seconds"] > 0
        assert record["peak_memory_mb"] > 50
        pace = record["pace"]
        assert pace["samples"] > 0
        assert 0 < pace["seconds"] <= record["wall_seconds"] + 0.1
        # Seconds are written to a hundredth.
        assert pace["samples"] / pace["samples_per_second"] == pytest.approx(pace["seconds"], abs=0.006)
        assert 0 <= pace["waiting_for_data"] <= 1
        assert len(record["data"]["fingerprint"]) == 64
        deciding = list(record["best"])[1]
        assert record["best"]["epoch"] >= 1
        assert deciding in rows_of(runs.folder / name)[0]


def test_a_training_starts_from_its_first_stage(runs):
    record = json.loads((runs.folder / "run" / "run.json").read_text())
    assert record["start"].startswith("best.pt (sha256 ")
    moved, tensors = record["tensors_transferred"]
    assert 0.8 * tensors < moved <= tensors


def images_of(runs):
    if runs.case.volumes:
        return [read_volume(path) for path in sorted((runs.data / "volumes").iterdir())[:3]]
    return [read_frame(path).pixels for path in sorted((runs.data / "images").iterdir())]


def answers(runs, predictor):
    images = images_of(runs)
    return [predictor.find(image) for image in images] if runs.case.volumes else predictor.find(images)


def test_the_export_answers_as_the_run_does(runs, tmp_path):
    """A run folder, a checkpoint in it and one alone are the same network; so is the artefact."""
    run, chosen = runs.folder / "run", pipeline(runs.method)
    exported = chosen.export(run, tmp_path / "made.onnx", threshold=0.0)
    trained = open_weights(str(run))
    same = {"name", "threshold", "training_run"}
    assert exported.contract.model_dump(exclude=same - {"training_run"}) == trained.contract.model_dump(
        exclude=same - {"training_run"}
    )
    assert exported.contract.training_run["method"] == runs.method
    assert exported.model_id.startswith("made@")
    assert open_weights(str(tmp_path / "made.onnx")).sha256 == exported.sha256
    shutil.copyfile(run / "weights" / "best.pt", tmp_path / "alone.pt")
    places = [run, run / "weights" / "best.pt"]
    if chosen.foreign_checkpoints:
        # It does not hold the settings by which it is read.
        assert open_weights(str(tmp_path / "alone.pt")).schema is trained.schema
    else:
        places.append(tmp_path / "alone.pt")
    expected = answers(runs, exported)
    for place in places:
        for one, other in zip(answers(runs, open_weights(str(place))), expected, strict=True):
            np.testing.assert_allclose(one.keypoints.coords, other.keypoints.coords, atol=0.05)
            assert one.score == pytest.approx(other.score, abs=1e-3)
    with pytest.raises(UsageError, match="--decode: expected"):
        chosen.export(run, tmp_path / "other.onnx", decode="crystal")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.pt", "made.onnx"]


def test_frames_and_volumes_are_not_mixed_up(runs):
    chosen = pipeline(runs.method)
    assert chosen.image == ("volume" if runs.case.volumes else "frame")
    assert open_weights(str(runs.folder / "run")).schema.name in chosen.schemas
    if runs.case.volumes:
        with pytest.raises(UsageError, match="finds points in volumes"):
            load_weights(str(runs.folder / "run"))
    with pytest.raises(UsageError, match="expected schema nothing, found"):
        open_weights(str(runs.folder / "run"), "nothing")


def test_a_refinement_is_given_or_refused(runs):
    with pytest.raises(UsageError, match=r"^(--refine: .*leave it out|refinement: .*)$"):
        open_weights(str(runs.folder / "run"), refine="paper")


def test_a_first_stage_measures_nothing(runs):
    if runs.case.pretrain is not None:
        with pytest.raises(UsageError, match=r"^weights: "):
            open_weights(str(runs.folder / "first"))
        return
    with pytest.raises(UsageError, match=f"^pretrain --method {runs.method}: .*; use aop-pose train"):
        runs.train("never", verb="pretrain")


def test_a_run_is_not_written_over(runs):
    with pytest.raises(UsageError, match="--resume"):
        runs.train("run", "epochs=2")
    with pytest.raises(UsageError, match="finished"):
        runs.train("run", "epochs=2", resume=True, **runs.settings)
    with pytest.raises(UsageError, match="expected a run folder"):
        runs.train("never", "epochs=2", resume=True)


def test_two_trainings_do_not_write_into_one_folder(runs, tmp_path):
    shutil.copytree(runs.folder / "run", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "finished": False}))
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with locked(tmp_path / "run"), pytest.raises(UsageError, match="another run is writing to"):
        runs.train(tmp_path / "run", "epochs=2", resume=True, **runs.settings)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_an_interrupted_run_goes_on_only_as_it_began(runs, tmp_path):
    shutil.copytree(runs.folder / "run", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "finished": False}))
    again = partial(runs.case.train, runs.data, tmp_path / "run", resume=True, **runs.settings)
    with pytest.raises(UsageError, match="started with another config"):
        again("epochs=4")
    with pytest.raises(UsageError, match="started with another seed"):
        again("epochs=2", seed=2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("epoch=1", "unknown setting 'epoch'; did you mean 'epochs'"),
        ("epochs", "--set: expected key=value, found 'epochs'"),
        ("epochs=0", "epochs: .*; found 0"),
    ],
)
def test_a_setting_that_there_is_not_names_the_nearest(runs, change, said):
    with pytest.raises(UsageError, match=said):
        runs.train("never", change)
    assert not (runs.folder / "never").exists()


def test_a_setting_that_the_stage_does_not_use_is_refused(runs):
    with pytest.raises(UsageError, match=f"(--set: train --method {runs.method} does not use|unknown setting)"):
        runs.train("never", runs.case.unused)
    if runs.case.pretrain is not None:
        with pytest.raises(UsageError, match=f"--set: pretrain --method {runs.method} does not use 'threshold'"):
            runs.train("never", "threshold=0.5", verb="pretrain", options=runs.case.pretrain)
    assert not (runs.folder / "never").exists()


def test_an_option_that_the_stage_does_not_take_is_refused(runs):
    with pytest.raises(UsageError, match=f"^--crystal: train --method {runs.method} does not take it$"):
        runs.train("never", options={"crystal": "ball"})
    with pytest.raises(UsageError, match=r"^--preset: expected one of .*fast.* or a YAML file, found 'quick'$"):
        runs.train("never", preset="quick")
    with pytest.raises(UsageError, match=r"^--init: expected auto, scratch, a checkpoint or a run folder"):
        runs.train("never", init=str(runs.folder / "never"))
    assert not (runs.folder / "never").exists()
