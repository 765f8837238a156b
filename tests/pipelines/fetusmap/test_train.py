"""What every pipeline promises, on tiny volumes: train, resume, export, predict; and what is refused."""

import json
from types import SimpleNamespace

import attrs
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

from aop_pose.core.frame import Volume  # noqa: E402
from aop_pose.core.schemas import FETAL_FACE  # noqa: E402
from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.inference.grid import place  # noqa: E402
from aop_pose.io.volumes import read_volume, write_volume  # noqa: E402
from aop_pose.pipelines import method_of, open_weights, pipeline  # noqa: E402
from aop_pose.pipelines.config import load_config  # noqa: E402
from aop_pose.pipelines.fetusmap import pipeline as training  # noqa: E402
from aop_pose.pipelines.fetusmap.config import PRESETS, FetusmapConfig  # noqa: E402
from aop_pose.pipelines.fetusmap.data import Example, groups, read_labels  # noqa: E402
from aop_pose.pipelines.fetusmap.training import errors  # noqa: E402
from aop_pose.pipelines.job import Job  # noqa: E402
from tests.fakes import SIDED_FACE  # noqa: E402
from tests.pipelines.fetusmap.test_landmarks import config_of  # noqa: E402
from tests.pipelines.fetusmap.tiny import AFFINES, train_tiny, write_faces  # noqa: E402
from tests.pipelines.killing import Killed, kill_at, rows_of  # noqa: E402

SHAPE = (18, 16, 14)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return write_faces(tmp_path_factory.mktemp("faces") / "set")


@pytest.fixture(scope="module")
def run(faces, tmp_path_factory):
    """A planned run, killed in its second epoch and resumed."""
    out = tmp_path_factory.mktemp("runs") / "run"
    changes = ("epochs=2", "plan=auto", "averaging=0.9")
    with pytest.raises(Killed):
        train_tiny(faces, out, *changes, on_batch=kill_at(2, 1))
    assert json.loads((out / "run.json").read_text())["finished"] is False
    train_tiny(faces, out, *changes, resume=True)
    return out


def states_of(run, name="last.pt"):
    return torch.load(run / "weights" / name, weights_only=True)["state"]


def test_a_run_folder_is_whole(run):
    for file in ("run.json", "config.yaml", "metrics.csv", "curves.png", "weights/best.pt", "weights/last.pt"):
        assert (run / file).is_file(), file
    assert not [path.name for path in (run / "weights").iterdir() if path.name.startswith("resume")]
    record = json.loads((run / "run.json").read_text())
    assert (record["method"], record["finished"], record["seed"], record["schema"]) == (
        "fetusmap",
        True,
        0,
        "fetal_face",
    )
    assert record["memory"]["plan"]["segments"]
    assert record["memory"]["bytes_of_a_step"] > 0
    assert len(record["data"]["fingerprint"]) == 64
    assert method_of(run) == method_of(run / "weights" / "best.pt") == "fetusmap"
    assert [row["epoch"] for row in rows_of(run)] == ["1", "2"]
    assert float(record["best"]["val/error_mm"]) == min(float(row["val/error_mm"]) for row in rows_of(run))


def test_a_resumed_run_equals_a_straight_one_bit_for_bit(run, faces, tmp_path):
    train_tiny(faces, tmp_path / "straight", "epochs=2", "plan=auto", "averaging=0.9")
    assert rows_of(tmp_path / "straight") == rows_of(run)
    for key, value in states_of(tmp_path / "straight").items():
        assert torch.equal(value, states_of(run)[key]), key


def test_a_planned_training_is_that_of_no_plan(faces, tmp_path):
    """Checkpoints and slabs give the same gradients, slabs but for rounding; without reversed passes the network is the
    same one."""
    train_tiny(faces, tmp_path / "plain", "epochs=1", "holdout=0")
    train_tiny(faces, tmp_path / "planned", "epochs=1", "holdout=0", "plan=auto", "max_slowdown=1.34")
    plan = json.loads((tmp_path / "planned" / "run.json").read_text())["memory"]["plan"]
    if plan["reversed_passes"]:
        pytest.skip("the planner reverses passes of this network, which makes it another one")
    plain, planned = states_of(tmp_path / "plain"), states_of(tmp_path / "planned")
    assert {key.replace("body.", "body.network.") for key in plain} == planned.keys()
    if not plan["slabs"]:
        assert all(torch.equal(value, planned[key.replace("body.", "body.network.")]) for key, value in plain.items())
    [one], [other] = rows_of(tmp_path / "plain"), rows_of(tmp_path / "planned")
    assert float(other["train/loss"]) == pytest.approx(float(one["train/loss"]), rel=1e-3)


def test_the_export_answers_as_the_run_does(run, faces, tmp_path):
    exported = pipeline("fetusmap").export(run, tmp_path / "made.onnx", threshold=0.0)
    native = open_weights(str(run))
    assert exported.contract.model_dump(exclude={"name"}) == native.contract.model_dump(exclude={"name"})
    assert exported.contract.training_run["method"] == "fetusmap"
    assert open_weights(str(tmp_path / "made.onnx")).sha256 == exported.sha256
    for path in sorted((faces / "volumes").iterdir())[:3]:
        volume = read_volume(path)
        one, other = native.find(volume), exported.find(volume)
        np.testing.assert_allclose(native.maps(volume).maps, exported.maps(volume).maps, atol=1e-4)
        np.testing.assert_allclose(one.keypoints.coords, other.keypoints.coords, atol=0.05)
    with pytest.raises(UsageError, match="--decode: expected"):
        pipeline("fetusmap").export(run, tmp_path / "other.onnx", decode="crystal")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.onnx"]


def test_a_training_starts_from_another(run, faces, tmp_path):
    for plan in ("auto", "none"):
        record = train_tiny(faces, tmp_path / plan, "epochs=1", f"plan={plan}", init=str(run))
        assert record["start"].startswith("best.pt (sha256 ")
        assert record["tensors_transferred"][0] == record["tensors_transferred"][1]
    with pytest.raises(UsageError, match="does not fit"):
        train_tiny(faces, tmp_path / "wide", "epochs=1", "widths=[4,4]", init=str(run))


def test_windows_are_trained_and_put_together(faces, tmp_path):
    changes = ("epochs=1", "mode=patch", "loss=mse", "voxel_mm=2", "size=[8,8,8]")
    train_tiny(faces, tmp_path / "run", *changes)
    predictor = open_weights(str(tmp_path / "run"))
    volume = read_volume(faces / "volumes" / "v1.nii.gz")
    maps = predictor.maps(volume)
    # The brain, and both eyes in one.
    assert maps.maps.shape == (2, *maps.placement.size)
    assert maps.placement.size == (18, 16, 21)
    assert np.isfinite(maps.maps).all()
    exported = pipeline("fetusmap").export(tmp_path / "run", tmp_path / "made.onnx")
    np.testing.assert_allclose(exported.maps(volume).maps, maps.maps, atol=1e-4)


def test_places_of_the_training_points_weigh_the_maps(faces, tmp_path):
    changes = ("epochs=1", "voxel_mm=2.5", "holdout=0", "place_prior=0.5")
    train_tiny(faces, tmp_path / "run", *changes)
    predictor = open_weights(str(tmp_path / "run"))
    places = predictor.contract.places
    labelled, schema = read_labels("labels.csv", Job(faces, faces / "run"))
    expected = []
    for one in labelled:
        volume = one.volume()
        points = one.points_of(schema)
        off = (points - (np.array(volume.shape) - 1) / 2) * volume.spacing
        # The grid is right-handed.
        off[:, 2] *= volume.handedness
        expected.append(off)
    brain, *eyes = np.mean(expected, axis=0)
    np.testing.assert_allclose(places.means, [brain, np.mean(eyes, axis=0)], atol=0.01)
    volume = labelled[0].volume()
    weighed = predictor.maps(volume)
    bare = attrs.evolve(predictor, contract=predictor.contract.model_copy(update={"places": None})).maps(volume)
    assert np.abs(weighed.maps - bare.maps).max() > 1e-4
    np.testing.assert_allclose(weighed.maps, places.weigh(bare.maps, 2.5, (np.array(weighed.placement.size) - 1) / 2))
    exported = pipeline("fetusmap").export(tmp_path / "run", tmp_path / "a.onnx")
    np.testing.assert_allclose(exported.maps(volume).maps, weighed.maps, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "widths", "bad"), [(16, "[2,2,2,2]", True), (8, "[2,2,2,2]", True), (32, "[2,2,2,2]", False)]
)
def test_bfloat16_is_not_taken_where_a_cpu_gives_wrong_gradients(tmp_path, monkeypatch, size, widths, bad):
    """The deepest level is 2, 1 and 4 voxels deep along the first axis."""
    monkeypatch.setattr(training, "precision_of", lambda asked, device: "bf16" if asked == "auto" else asked)
    said = []
    job = Job(tmp_path, tmp_path / "run", say=said.append)
    config = load_config(FetusmapConfig, PRESETS, "fast", [f"size=[{size},32,32]", f"widths={widths}"])
    assert training.with_safe_precision(config, job).precision == ("fp32" if bad else "auto")
    assert len(said) == bad
    for precision in ("bf16", "fp32"):
        asked = config.model_copy(update={"precision": precision})
        if bad and precision == "bf16":
            with pytest.raises(UsageError, match=r"precision bf16: size .* fewer widths"):
                training.with_safe_precision(asked, job)
        else:
            assert training.with_safe_precision(asked, job) == asked
    assert training.with_safe_precision(config, SimpleNamespace(device="0", say=said.append)) == config


def test_val_chooses_the_epoch_and_stands_apart(faces, tmp_path):
    lines = (faces / "labels.csv").read_text().splitlines()
    for name, chosen in (("train.csv", lines[1:5]), ("val.csv", lines[5:]), ("both.csv", lines[4:])):
        (tmp_path / name).write_text("\n".join([lines[0], *chosen]) + "\n")
    labels = str(tmp_path / "train.csv")
    record = train_tiny(faces, tmp_path / "run", "epochs=1", labels=labels, options={"val": str(tmp_path / "val.csv")})
    assert (record["data"]["volumes"], record["data"]["checked_volumes"]) == (4, 3)
    with pytest.raises(UsageError, match=r"v3.nii.gz stands in --labels too \(1 such volumes\)"):
        train_tiny(faces, tmp_path / "other", labels=labels, options={"val": str(tmp_path / "both.csv")})
    assert not (tmp_path / "other").exists()


def test_volumes_of_a_mother_stay_together(faces):
    labelled, schema = read_labels("labels.csv", Job(faces, faces / "run"))
    draw = np.random.default_rng(0)
    placement = place(SHAPE, AFFINES[0], 2.0, (0, 0, 0))
    examples = [
        Example(one.name, torch.from_numpy(draw.random(SHAPE)), torch.zeros(3, 3), placement, np.zeros(3))
        for one in labelled
    ]
    assert schema is FETAL_FACE
    assert len(set(groups(labelled, examples, config_of()))) == 7
    assert groups(labelled, examples, config_of("group=mother")).tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert len(set(groups(labelled, examples, config_of("patient='v([0-3])|v'")))) < 7
    examples[6] = examples[0]
    assert groups(labelled, examples, config_of())[6] == 0
    with pytest.raises(UsageError, match="column of the label file"):
        groups(labelled, examples, config_of("group=father"))


@pytest.mark.parametrize("what", ["missing", "nan", "constant", "other points", "no rows", "no memory"])
def test_bad_input_is_said_in_a_line_and_nothing_is_written(what, faces, tmp_path):
    data, changes = write_faces(tmp_path / "set", count=3), []
    header, *rows = (data / "labels.csv").read_text().splitlines()
    path = data / "volumes" / "v1.nii.gz"
    if what == "missing":
        path.unlink()
        said = "v1.nii.gz"
    elif what == "nan":
        np.savez(data / "volumes" / "v1.npz", voxels=np.full(SHAPE, np.nan, np.float32), affine=np.eye(4))
        rows[1] = rows[1].replace("v1.nii.gz", "v1.npz")
        said = "v1.npz.*NaN"
    elif what == "constant":
        write_volume(Volume(np.ones(SHAPE, np.float32), AFFINES[1]), path)
        said = "v1.nii.gz: expected gray values, found one value"
    elif what == "other points":
        header = header.replace("left_eye", "left_ear")
        said = "expected the points of one of the schemas .* found brain, left_ear, right_eye"
    elif what == "no rows":
        rows = []
        said = "at least one labelled volume"
    else:
        changes = ["budget_gb=0.0005"]
        said = "size: a training step at 16x16x16 needs"
    (data / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    with pytest.raises(UsageError, match=said):
        train_tiny(data, tmp_path / "run", "holdout=0", *changes)
    assert not (tmp_path / "run").exists()


def test_a_small_volume_is_padded_and_said(tmp_path):
    data = write_faces(tmp_path / "set", count=2, shape=(9, 9, 9))
    said = []
    train_tiny(
        data,
        tmp_path / "run",
        "epochs=1",
        "holdout=0",
        "widths=[2,2,2,2,2]",
        "size=[32,16,16]",
        "voxel_mm=2",
        say=said.append,
    )
    assert any("padded to the network's stride of 16" in line for line in said)


def test_errors_by_hand():
    truth = np.array([[0.0, 0, 0], [10, 0, 0], [20, 0, 0]])
    found = np.array([[0.0, 3, 4], [20, 0, 0], [10, 0, 0]])
    named = errors(found, truth, SIDED_FACE, unsided=False, diagonal=100)
    assert named == {"val/error_mm": pytest.approx(25 / 3), "val/exchanged": 1.0, "val/missing": 0.0}
    assert errors(found, truth, SIDED_FACE, unsided=True, diagonal=100)["val/error_mm"] == pytest.approx(5 / 3)
    found[1] = np.nan
    gone = errors(found, truth, SIDED_FACE, unsided=False, diagonal=100)
    assert gone == {"val/error_mm": pytest.approx((5 + 100 + 10) / 3), "val/exchanged": 0.0, "val/missing": 1.0}
    truth[2] = np.nan
    assert errors(found, truth, SIDED_FACE, unsided=False, diagonal=100)["val/error_mm"] == pytest.approx(105 / 2)
