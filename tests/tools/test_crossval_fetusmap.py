"""The cross-validation on volumes: whole groups, a floor worked out by hand, and a table that goes on."""

import argparse
import json

import numpy as np
import pytest

pytest.importorskip("lightning", reason="lightning comes with the train extra")

import crossval_fetusmap as crossval

from aop_pose.core.schemas import FETAL_FACE
from aop_pose.errors import UsageError
from aop_pose.formats.points3d import POINTS_3D
from aop_pose.formats.registry import read_labels
from aop_pose.inference.volume_predictor import VolumeContract, VolumePredictor
from tests.pipelines.fetusmap.tiny import TINY, write_faces


def test_a_network_is_read_otherwise_without_training():
    contract = VolumeContract(
        name="n", schema="fetal_face", size=(8, 8, 8), sigma=1, threshold=0, decode="argmax", training_run={},
    )  # fmt: skip
    predictor = VolumePredictor(contract, lambda inputs: inputs, "m")
    other, chosen = crossval.read_otherwise(predictor, ["candidates=2", "turns=24"])
    assert chosen == {"candidates": 2, "turns": 24}
    assert other.contract == contract.model_copy(update=chosen)
    assert crossval.read_otherwise(predictor, [])[0].contract == contract


def options_of(data, folder, **changes):
    known = {
        "data": data, "labels": "labels.csv", "group": "mother", "folds": 2, "fold": None, "init": None,
        "preset": "fast", "set": [*TINY[:4], "threshold=0", "epochs=1"], "seed": 0, "table": False, "again": False,
        "runs": folder / "runs", "results": folder / "results",
    }  # fmt: skip
    return argparse.Namespace(**{**known, **changes})


def test_folds_hold_whole_groups_of_even_size():
    groups = list("aaaabbccdeef")
    folds = crossval.folds_of(groups, 3)
    for group in set(groups):
        assert len({fold for name, fold in zip(groups, folds, strict=True) if name == group}) == 1
    assert np.bincount(folds).tolist() == [4, 4, 4]
    with pytest.raises(UsageError, match="at most 2"):
        crossval.folds_of("aabb", 3)


def test_the_floor_is_the_mean_of_the_training_landmarks(tmp_path):
    """Two volumes of one affine whose points differ by 4 voxels of 2 mm: the mean is 2 voxels from each."""
    data = write_faces(tmp_path / "set", count=5)
    labelled = read_labels(data / "labels.csv", data, None)
    one, other, third = (labelled[number] for number in (0, 2, 4))
    other.points[:] = one.points + np.array([4, 0, 0])
    third.points[:] = one.points + np.array([2, 3, 0])
    errors = crossval.floor_errors([one, other], [third], FETAL_FACE)
    assert errors == {"v4.nii.gz": pytest.approx([6.0, 6.0, 6.0])}
    # The eyes are not told apart.
    third.points[[1, 2]] = third.points[[2, 1]]
    assert crossval.floor_errors([one, other], [third], FETAL_FACE) == {"v4.nii.gz": pytest.approx([6.0, 6.0, 6.0])}


def test_the_table_goes_on_where_it_stopped(tmp_path, capsys):
    data = write_faces(tmp_path / "set", count=4)
    POINTS_3D.write_table(read_labels(data / "labels.csv", data, None), data / "labels.csv")
    options = options_of(data, tmp_path)
    crossval.run_all(argparse.Namespace(**{**vars(options), "fold": 0}))
    [file] = (tmp_path / "results").iterdir()
    first = json.loads(file.read_text())
    assert (first["fold"], first["trained_on"]) == (0, 2)
    assert set(first["volumes"]) == {"v0.nii.gz", "v1.nii.gz"}
    assert set(first["volumes"]["v0.nii.gz"]["axes_deg"]) == {"look", "eyes", "crown"}
    assert "labels.csv" not in json.dumps(first["config"])
    before = file.stat().st_mtime_ns
    crossval.run_all(options)
    assert file.stat().st_mtime_ns == before
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["fold-0.json", "fold-1.json"]
    capsys.readouterr()
    crossval.run_all(argparse.Namespace(**{**vars(options), "table": True}))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| 0", "| 1", "| 2 of 2"]
    done = [json.loads(path.read_text()) for path in sorted((tmp_path / "results").iterdir())]
    errors = np.array([one["mm"] for fold in done for one in fold["volumes"].values()])
    assert lines[4].startswith(f"| 2 of 2 | 4 | {errors.mean():.1f} | {np.median(errors):.1f} |")
    eyes = errors[:, 1:].ravel()
    near = f"{(eyes <= 10).sum()} of 8 | {(eyes <= 15).sum()} of 8"
    assert f"| eyes | {eyes.mean():.1f} | {np.median(eyes):.1f} | {near} | {eyes.max():.1f} |" in lines
    assert any(line.startswith("| axis look, deg |") for line in lines)
    with pytest.raises(UsageError, match=r"--again: expected --set of .*, found lr"):
        crossval.run_all(argparse.Namespace(**{**vars(options), "again": True, "set": ["lr=1"]}))
    plain = json.loads(file.read_text())
    crossval.run_all(argparse.Namespace(**{**vars(options), "again": True, "fold": 0, "set": ["decode=argmax"]}))
    again = json.loads(file.read_text())
    assert again["config"] == {**plain["config"], "decode": "argmax"} != plain["config"]
    assert again["volumes"] != plain["volumes"]
    assert {**again, "config": 0, "volumes": 0} == {**plain, "config": 0, "volumes": 0}
    further = argparse.Namespace(
        **{**vars(options), "fold": 0, "init": tmp_path / "runs", "runs": tmp_path / "more",
           "results": tmp_path / "then"}
    )  # fmt: skip
    crossval.run_all(further)
    assert json.loads((tmp_path / "then" / "fold-0.json").read_text())["start"].startswith("best.pt (sha256 ")
    with pytest.raises(UsageError, match="--group"):
        crossval.run_all(
            argparse.Namespace(**{**vars(options), "group": "father", "table": False, "results": tmp_path})
        )
