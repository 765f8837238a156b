"""``predict --refine``: the poses a run stores, the predictor made of them, and what cannot be refined."""

import numpy as np
import pytest
import torch

from aop_pose.cli import main
from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import FETUS
from aop_pose.errors import UsageError
from aop_pose.formats.label import Label
from aop_pose.formats.points3d import POINTS_3D
from aop_pose.inference.grid import normalised, resample
from aop_pose.inference.volume_predictor import read_maps
from aop_pose.io.volumes import write_volume
from aop_pose.pipelines import open_weights, pipeline
from aop_pose.pipelines.checkpoint import write_checkpoint
from aop_pose.pipelines.fetusmap.config import RefineSettings
from aop_pose.pipelines.fetusmap.landmarks import FetusmapModel, LandmarkNetwork
from aop_pose.pipelines.fetusmap.library import AMBIGUOUS, Prior
from aop_pose.pipelines.fetusmap.refine import Refined, note_of, refine, refining_predictor
from aop_pose.pipelines.job import Job
from tests.volume_files import AXES, affine_of

TINY = {"size": (16, 16, 16), "widths": (2, 4), "threshold": 0.0}
POSES = 9


def checkpoint(path, points="fetus", poses=POSES, **changes):
    """A network that has seen nothing, with poses drawn at random."""
    torch.manual_seed(0)
    model = FetusmapModel(**{**TINY, **changes}, points=points, poses=poses)
    network = LandmarkNetwork(model)
    if poses:
        network.poses.copy_(torch.rand(poses, 22, 3, generator=torch.Generator().manual_seed(1)) * 40)
    write_checkpoint(path, "fetusmap", "train", model, network)
    return path


def refining(file, settings=None):
    return refining_predictor(pipeline("fetusmap").predictor(file), file, "cpu", settings or RefineSettings())


def volume(axes="flipped and permuted", shape=(14, 12, 10), seed=2):
    values = np.random.default_rng(seed).random(shape, dtype=np.float32)
    return Volume(values, affine_of(AXES[axes], (1.0, 2.0, 3.0)), source="one.nii.gz")


def test_a_volume_is_refined_as_refine_does_it(tmp_path):
    file = checkpoint(tmp_path / "a.pt")
    predictor = refining(file)
    given = volume()
    state = {name: value.clone() for name, value in predictor.learner.state_dict().items()}
    found = predictor.find(given)
    placement = predictor.place(given, normalised(given.voxels))
    maps = predictor.maps(given)
    edge = placement.voxel_mm
    again = refine(
        predictor.learner,
        torch.from_numpy(resample(normalised(given.voxels), placement))[None, None],
        np.diag([edge, edge, edge, 1]),
        predictor.library,
        FETUS,
        read=lambda answer: read_maps(answer, "subpixel", placement)[0],
    )
    np.testing.assert_array_equal(maps.maps, again.maps)
    expected = placement.within(placement.backward(again.points / edge))
    np.testing.assert_allclose(found.keypoints.coords, expected, atol=1e-9)
    assert again.reason == ""
    assert found.reason == note_of(again)
    assert all(torch.equal(state[name], value) for name, value in predictor.learner.state_dict().items())


def test_a_refined_volume_is_seen_in_all_turns_as_a_plain_one(tmp_path):
    """Steps too small to change anything leave the averaged maps of the plain predictor."""
    file = checkpoint(tmp_path / "a.pt", turns=24)
    given = volume()
    plain = pipeline("fetusmap").predictor(file)
    refined = refining(file, settings=RefineSettings(lr=1e-12))
    np.testing.assert_allclose(refined.maps(given).maps, plain.maps(given).maps, atol=1e-5)
    single = pipeline("fetusmap").predictor(checkpoint(tmp_path / "b.pt"))
    assert np.abs(single.maps(given).maps - plain.maps(given).maps).max() > 1e-3
    assert refined.further_facts["turns"] == plain.further_facts["turns"] == 24


def test_an_artefact_sees_all_turns_as_its_checkpoint_does(tmp_path):
    file = checkpoint(tmp_path / "a.pt", turns=24, size=(16, 16, 24))
    given = volume()
    exported = pipeline("fetusmap").export(file, tmp_path / "a.onnx")
    assert exported.contract.turns == 24
    assert exported.further_facts == {"turns": 8}
    np.testing.assert_allclose(
        exported.maps(given).maps, pipeline("fetusmap").predictor(file).maps(given).maps, atol=1e-4
    )


def test_only_the_ambiguous_points_differ_from_the_plain_prediction(tmp_path):
    file = checkpoint(tmp_path / "a.pt")
    given = volume()
    plain = pipeline("fetusmap").predictor(file)
    refined = refining(file, settings=RefineSettings(on="paper", lr=0.01))
    one, other = plain.find(given).keypoints.coords, refined.find(given).keypoints.coords
    changed = np.flatnonzero(np.abs(one - other).max(axis=1) > 1e-6)
    assert set(changed) <= set(AMBIGUOUS)
    assert len(changed) >= 3
    assert refined.model_id == f"{plain.model_id}+refined"
    assert refined.further_facts["refinement"]["library"] == POSES
    assert plain.further_facts == {}


@pytest.mark.parametrize("axes", ["straight", "flipped", "oblique and flipped"])
def test_training_stores_its_poses_in_right_handed_millimetres(tmp_path, axes):
    """As they are in the patient, up to a rotation and a shift: the same distances and the same handedness."""
    truth, rows = [], []
    for number in range(3):
        one = volume(axes, (20, 10, 8), number)
        points = np.random.default_rng(number).uniform(0, [19, 9, 7], size=(22, 3))
        write_volume(one, tmp_path / f"{number}.nii.gz")
        pose = Keypoints.from_points(FETUS, points)
        rows.append(Label(f"{number}.nii.gz", tmp_path / f"{number}.nii.gz", one.shape, pose, index=None))
        truth.append(one.to_mm(points))
    POINTS_3D.write_table(rows, tmp_path / "labels.csv")
    changes = ["size=[16,16,16]", "widths=[2,4]", "epochs=1", "holdout=0", "averaging=0.5"]
    pipeline("fetusmap").train(Job(tmp_path, tmp_path / "run", changes=changes))
    stored = open_weights(str(tmp_path / "run"), refine="paper").library.poses
    assert stored.shape == (3, 22, 3)
    for pose, patient in zip(stored, truth, strict=True):
        np.testing.assert_allclose(*(np.linalg.norm(p[:, None] - p[None], axis=2) for p in (pose, patient)), rtol=1e-3)
        volumes = [np.linalg.det(p[1:4] - p[0]) for p in (pose, patient)]
        assert volumes[0] == pytest.approx(volumes[1], rel=1e-3)


def test_a_note_says_how_far_points_moved_and_why_not():
    before = np.zeros((22, 3))
    points = before.copy()
    points[list(AMBIGUOUS), 0] = [0.5, 1.0, 2.25, 0, np.nan]
    prior = Prior(np.zeros((22, 3)), np.arange(3), np.zeros(3), AMBIGUOUS)
    assert note_of(Refined(None, before, points, prior)) == "refined: 4 points moved 0.0-2.2 mm by 3 poses"
    assert note_of(Refined(None, before, before, reason="why")) == "not refined: why"


def test_what_is_trusted_is_a_choice_of_predict(tmp_path, capsys):
    file = checkpoint(tmp_path / "a.pt")
    for on in ("paper", "surest"):
        assert open_weights(str(file), refine=on).settings == RefineSettings(on=on)
    with pytest.raises(UsageError, match="--refine-on: expected paper or surest, found 'best'"):
        open_weights(str(file), refine="best")
    arguments = ["predict", str(tmp_path), "--out", str(tmp_path / "out"), "--refine-on", "surest"]
    assert main.run(arguments) == 2
    assert "--refine-on goes with --refine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": "fetal_face", "poses": 0}, "expected a model of schema fetus, .* found schema fetal_face; "),
        ({"poses": 0}, "expected a checkpoint with training poses, found none in .*; train again"),
        ({"poses": 0, "mode": "patch", "loss": "mse", "voxel_mm": 2.0}, "whole volumes, found mode patch"),
    ],
)
def test_what_cannot_be_refined_is_said_in_a_line(tmp_path, changes, message):
    with pytest.raises(UsageError, match=rf"^refinement: expected .*{message}[^\n]*$|^refinement: {message}[^\n]*$"):
        refining(checkpoint(tmp_path / "a.pt", **changes))


def test_too_little_memory_is_said_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("aop_pose.pipelines.fetusmap.refine.usable_memory", lambda device: (1e-4, "0.00 GiB"))
    with pytest.raises(UsageError, match=r"^refinement: a step at 16x16x16 needs 0\.0\d GiB, found 0\.00 GiB; [^\n]*$"):
        refining(checkpoint(tmp_path / "a.pt"))


@pytest.mark.parametrize("weights", [None, "aop-fast", "some.onnx"])
def test_weights_that_are_no_run_of_fetusmap_are_refused(weights):
    with pytest.raises(
        UsageError, match=r"^--refine: expected --weights with a run folder or checkpoint, found [^\n]*$"
    ):
        open_weights(weights, refine="paper")


def test_another_schema_than_asked_for_is_refused(tmp_path):
    file = checkpoint(tmp_path / "a.pt")
    with pytest.raises(UsageError, match=r"^weights: expected schema fetal_face, found fetus"):
        open_weights(str(file), "fetal_face", refine="paper")
