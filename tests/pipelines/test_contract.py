"""What every pipeline promises, on tiny phantoms: pretrain, train, resume, predict, export."""

import json

import numpy as np
import pytest

from tests.fakes import require_ultralytics

require_ultralytics()

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.io.images import read_frame  # noqa: E402
from aop_pose.pipelines import PACKAGES, PIPELINES, load_weights, method_of, pipeline  # noqa: E402
from tests.pipelines.conftest import train_tiny  # noqa: E402
from tests.pipelines.hrnet_tiny import train_hrnet  # noqa: E402
from tests.pipelines.killing import Killed, kill_at, rows_of  # noqa: E402
from tests.pipelines.unet_tiny import train_unet  # noqa: E402

TRAIN = {"yolo": train_tiny, "unet": train_unet, "hrnet-gan": train_hrnet}
# The segmenter that needs no weights.
PRETRAIN_OPTIONS = {"yolo": {"segmenter": "geometry"}, "unet": {}, "hrnet-gan": {}}
METHODS = sorted(TRAIN)


@pytest.fixture(scope="module", params=METHODS)
def runs(request, phantom_set, tmp_path_factory):
    """A pre-training of one epoch, and a training from it that was killed in its second epoch and resumed."""
    method, folder = request.param, tmp_path_factory.mktemp(f"contract-{request.param}")
    train = TRAIN[method]
    train(phantom_set, folder / "first", "epochs=1", verb="pretrain", options=PRETRAIN_OPTIONS[method])
    settings = {"init": str(folder / "first")}
    with pytest.raises(Killed):
        train(phantom_set, folder / "run", "epochs=2", on_batch=kill_at(2, 1), **settings)
    assert json.loads((folder / "run" / "run.json").read_text())["finished"] is False
    train(phantom_set, folder / "run", "epochs=2", resume=True, **settings)
    return method, folder


def test_every_pipeline_is_under_contract():
    assert set(PIPELINES) == set(PACKAGES)
    # FetusMapV2 takes volumes and has no pre-training: fetusmap/test_train.py holds it to the rest of these promises.
    assert {*METHODS, "fetusmap"} == set(PIPELINES)


def test_a_run_folder_is_whole(runs):
    method, folder = runs
    for name in ("first", "run"):
        run = folder / name
        for file in ("run.json", "config.yaml", "metrics.csv", "curves.png", "weights/best.pt", "weights/last.pt"):
            assert (run / file).is_file(), f"{name}/{file}"
        assert not [path.name for path in (run / "weights").iterdir() if path.name.startswith("resume")]
        record = json.loads((run / "run.json").read_text())
        assert (record["method"], record["finished"], record["seed"]) == (method, True, 0)
        assert {"config", "versions", "git_commit", "best", "wall_seconds", "peak_memory_mb"} <= record.keys()
        assert len(record["data"]["fingerprint"]) == 64
    assert method_of(folder / "run") == method_of(folder / "run" / "weights" / "best.pt") == method
    assert [row["epoch"] for row in rows_of(folder / "run")] == ["1", "2"]
    assert {"train", "val"} <= {name.split("/")[0] for name in rows_of(folder / "run")[0]}


def test_a_training_starts_from_its_pretraining(runs):
    _, folder = runs
    record = json.loads((folder / "run" / "run.json").read_text())
    assert record["start"].startswith("best.pt (sha256 ")
    moved, tensors = record["tensors_transferred"]
    assert 0.8 * tensors < moved <= tensors


def test_the_export_answers_as_the_run_does(runs, phantom_set):
    method, folder = runs
    exported = pipeline(method).export(folder / "run", folder / "made.onnx", threshold=0.0)
    native = load_weights(str(folder / "run"))
    assert exported.contract.model_dump(exclude={"name", "threshold"}) == native.contract.model_dump(
        exclude={"name", "threshold"}
    )
    assert exported.contract.training_run["method"] == method
    pictures = [read_frame(path).pixels for path in sorted((phantom_set / "images").iterdir())]
    for one, other in zip(native.find(pictures), exported.find(pictures), strict=True):
        np.testing.assert_allclose(one.keypoints.coords, other.keypoints.coords, atol=0.05)
        assert one.score == pytest.approx(other.score, abs=1e-3)
    with pytest.raises(UsageError, match="--decode: expected"):
        pipeline(method).export(folder / "run", folder / "other.onnx", decode="crystal")
    assert not (folder / "other.onnx").exists()


def test_a_run_is_not_written_over(runs, phantom_set):
    method, folder = runs
    with pytest.raises(UsageError, match="--resume"):
        TRAIN[method](phantom_set, folder / "run", "epochs=2")
    with pytest.raises(UsageError, match="finished"):
        TRAIN[method](phantom_set, folder / "run", "epochs=2", init=str(folder / "first"), resume=True)


def test_an_unknown_setting_names_the_nearest(runs, phantom_set, tmp_path):
    with pytest.raises(UsageError, match="unknown setting 'epoch'; did you mean 'epochs'"):
        TRAIN[runs[0]](phantom_set, tmp_path / "run", "epoch=1")
    assert not (tmp_path / "run").exists()
