"""Volumes -> rows: one row a volume or time point whatever happens."""

import csv
import json
import re

import attrs
import numpy as np
import pytest

from aop_pose.core.frame import Volume
from aop_pose.core.results import columns
from aop_pose.core.schemas import FETAL_FACE
from aop_pose.errors import UsageError
from aop_pose.inference.decode import encode
from aop_pose.inference.volume_predictor import VolumeContract, VolumePredictor
from aop_pose.io.volumes import write_volume
from aop_pose.measuring.folder import predict
from aop_pose.measuring.measurer import Measurer, measure_array
from aop_pose.trust.gate import VolumeGate
from aop_pose.trust.intervals import Calibration, Scores

SHAPE = (12, 10, 8)


def predictor_of(height=1.0):
    """Finds three points in the middle, 4 voxels of the grid apart."""
    contract = VolumeContract(
        name="made-up", schema="fetal_face", size=(16, 16, 16), voxel_mm=1.0, sigma=2.0, threshold=0.1,
        decode="subpixel", training_run={"name": "none"},
    )  # fmt: skip
    points = np.array([[[7.5, 7.5, 3.5], [7.5, 7.5, 7.5], [7.5, 7.5, 11.5]]])
    return VolumePredictor(contract, lambda inputs: height * encode(points, (16, 16, 16), 2.0), "made-up@0")


@pytest.fixture
def volumes(tmp_path):
    """A good volume, one of one value, a 4-D file, one with NaN, a broken one, one without spacing, and a text."""
    folder = tmp_path / "volumes"
    (folder / "sub").mkdir(parents=True)
    draw = np.random.default_rng(0)
    values = draw.random(SHAPE, dtype=np.float32)
    write_volume(Volume(values, np.diag([1.0, 1, 1, 1])), folder / "a.nii.gz")
    write_volume(Volume(np.ones(SHAPE, np.float32), np.eye(4)), folder / "flat.nii.gz")
    np.savez(folder / "moving.npz", voxels=draw.random((*SHAPE, 3)).astype("f4"), affine=np.eye(4))
    broken = values.copy()
    broken[0, 0, 0] = np.nan
    np.savez(folder / "nan.npz", voxels=broken, affine=np.eye(4))
    (folder / "sub" / "broken.nii").write_bytes(b"nothing")
    np.save(folder / "unspaced.npy", values)
    (folder / "notes.txt").write_text("not a volume")
    return folder


def rows_of(out):
    with (out / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_volume_and_time_point_has_a_row(volumes, tmp_path):
    out = tmp_path / "out"
    summary = predict(predictor_of(), [volumes], out, facts={"notice": "research"})
    rows = rows_of(out)
    assert list(rows[0]) == columns(FETAL_FACE)
    assert [(row["source"], row["index"], row["status"]) for row in rows] == [
        ("a.nii.gz", "0", "ok"),
        ("flat.nii.gz", "0", "abstained"),
        ("moving.npz", "0", "ok"),
        ("moving.npz", "1", "ok"),
        ("moving.npz", "2", "ok"),
        ("nan.npz", "0", "unreadable"),
        ("sub/broken.nii", "0", "unreadable"),
        ("unspaced.npy", "0", "unreadable"),
    ]
    assert summary.counts == {"ok": 4, "abstained": 1, "unreadable": 3}
    assert summary.ignored == 1
    reasons = {row["source"]: row["reason"] for row in rows}
    assert "NaN" in reasons["nan.npz"]
    assert "one value" in reasons["flat.nii.gz"]
    assert "spacing" in reasons["unspaced.npy"] or "millimetres" in reasons["unspaced.npy"]
    # The grid's middle is the volume's; the points stand 4 mm apart along i, which the maps' last axis is not.
    assert float(rows[0]["eye_distance_mm"]) == pytest.approx(4, abs=0.05)
    assert float(rows[0]["left_eye_j"]) == pytest.approx((SHAPE[1] - 1) / 2, abs=0.02)
    document = json.loads((out / "results.json").read_text())
    assert document["run"]["notice"] == "research"
    assert len(document["results"]) == 8
    pictures = sorted(str(path.relative_to(out / "overlays")) for path in (out / "overlays").rglob("*.png"))
    assert len(pictures) == 5
    assert not (out / ".started.json").exists()


def test_time_points_after_a_bad_one_have_rows_too(tmp_path):
    voxels = np.random.default_rng(0).random((*SHAPE, 3)).astype("f4")
    voxels[0, 0, 0, 1] = np.nan
    np.savez(tmp_path / "partly.npz", voxels=voxels, affine=np.eye(4))
    predict(predictor_of(), [tmp_path / "partly.npz"], tmp_path / "out")
    rows = [(row["index"], row["status"]) for row in rows_of(tmp_path / "out")]
    assert rows == [("0", "ok"), ("1", "unreadable"), ("2", "ok")]


def test_a_spacing_is_taken_where_the_file_has_none(volumes, tmp_path):
    predict(predictor_of(), [volumes / "unspaced.npy"], tmp_path / "out", pixel_size="1.25", overlay=False)
    [row] = rows_of(tmp_path / "out")
    assert row["status"] == "ok"
    assert float(row["eye_distance_mm"]) == pytest.approx(4, abs=0.05)
    assert not (tmp_path / "out" / "overlays").exists()


def test_a_broken_off_run_goes_on_where_it_stopped(volumes, tmp_path):
    straight, out = tmp_path / "straight", tmp_path / "out"
    predict(predictor_of(), [volumes], straight, overlay=False)

    def stop(result, done):
        if (result.source, result.index) == ("moving.npz", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(predictor_of(), [volumes], out, overlay=False, on_row=stop)
    assert len(rows_of(out)) == 4
    seen = []
    predict(predictor_of(), [volumes], out, overlay=False, on_row=lambda result, done: seen.append(result))
    assert len(seen) == 4
    assert (out / "results.csv").read_bytes() == (straight / "results.csv").read_bytes()


def test_what_stands_is_not_written_over(volumes, tmp_path):
    out = tmp_path / "out"
    predict(predictor_of(), [volumes / "a.nii.gz"], out, overlay=False)
    with pytest.raises(UsageError, match="finished run"):
        predict(predictor_of(), [volumes / "a.nii.gz"], out)
    other = attrs.evolve(predictor_of(), model_id="other@1")
    predict(other, [volumes / "a.nii.gz"], out, overlay=False, overwrite=True)
    assert rows_of(out)[0]["model"] == "other@1"


def test_no_volumes_is_said(volumes, tmp_path):
    for path in volumes.glob("*.n*"):
        path.unlink()
    (volumes / "sub" / "broken.nii").unlink()
    with pytest.raises(UsageError, match=r"no volumes found in .*: 1 other file"):
        predict(predictor_of(), [volumes], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_found_abstains_with_the_reason(volumes, tmp_path):
    predict(predictor_of(0.01), [volumes / "a.nii.gz"], tmp_path / "out")
    [row] = rows_of(tmp_path / "out")
    assert (row["status"], row["eye_distance_mm"], row["brain_i"]) == ("abstained", "", "")
    assert "no anatomy found" in row["reason"]


def test_a_4d_file_has_motion_beside_its_rows(volumes, tmp_path):
    out = tmp_path / "out"
    predict(predictor_of(), [volumes], out)
    with (out / "motion.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["source"], row["index"]) for row in rows] == [("moving.npz", str(i)) for i in range(3)]
    # The made-up predictor finds the same place in each.
    assert [row["brain_mm_per_frame"] for row in rows] == ["", "0.0000", "0.0000"]
    predict(predictor_of(), [volumes / "a.nii.gz"], out, overwrite=True)
    assert not (out / "motion.csv").exists()


def test_what_volumes_cannot_honour_is_refused_before_anything_is_written(volumes, tmp_path):
    for asked, words in (
        ({"batch": 4}, "--batch: volumes pass the network one by one"),
        ({"coverage": 0.9}, "--coverage: made-up@0 is not calibrated"),
        ({"gate": True}, "--gate: made-up@0 has no gate"),
        ({"pixel_size": "sizes.csv"}, "--pixel-size: expected millimetres per voxel"),
    ):
        with pytest.raises(UsageError, match=words):
            predict(predictor_of(), [volumes], tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()
    assert predict(predictor_of(), volumes / "a.nii.gz", tmp_path / "out", gate=False).counts == {"ok": 1}


def test_an_array_is_measured_as_a_volume():
    values = np.random.default_rng(0).random(SHAPE)
    result = measure_array(predictor_of(), values, spacing=(1, 1, 1))
    assert result.measurements["eye_distance_mm"].value == pytest.approx(4, abs=0.2)
    for array, spacing in ((values, None), (values, (1, 1)), (values[0], (1, 1, 1)), (values > 0.5, (1, 1, 1))):
        with pytest.raises(ValueError, match=r"expected (a volume|three positive numbers)"):
            measure_array(predictor_of(), array, spacing)


def test_an_error_that_nobody_foresaw_is_a_row_of_its_file(volumes, tmp_path, monkeypatch):
    def breaks(path, source, spacing):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("aop_pose.measuring.images.read_times", breaks)
    assert predict(predictor_of(), [volumes / "a.nii.gz"], tmp_path / "out").counts == {"unreadable": 1}
    assert "(ZeroDivisionError: division by zero)" in rows_of(tmp_path / "out")[0]["reason"]


def guarded_predictor(other=0.0, second=None, **gate):
    """Eyes 4 mm apart, found with peaks of about 1, behind a gate and with an interval."""
    plain = predictor_of()
    rules = {"least": {"brain": 0.5, "left_eye": 0.5, "right_eye": 0.5}, "rival": 0.4, "risk": 0.01, "fitted": {}}
    scores = Scores(difficulty="plain", scores=[0.5, 1.0, 1.5, 2.0], weights=[1.0, 1, 1, 1])
    calibration = Calibration(
        data="made-up", frames=4, groups=4, coverage=0.6, quantities={"eye_distance_mm": scores}
    )  # fmt: skip
    update = {"gate": VolumeGate(**{**rules, **gate}), "calibration": calibration}
    contract = plain.contract.model_copy(update=update)

    class Doubled(VolumePredictor):
        def find(self, volume):
            found = super().find(volume)
            beside = None if second is None else attrs.evolve(found.keypoints, scores=np.full(3, second))
            return attrs.evolve(found, rival=other, beside=beside)

    return Doubled(contract, plain.network, "guarded@0")


def test_a_gate_withholds_with_a_reason_and_intervals_are_in_millimetres(tmp_path):
    values = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    volume = Volume(values, np.eye(4), "v")
    (measured,) = Measurer(guarded_predictor()).results([volume])
    distance = measured.measurements["eye_distance_mm"]
    assert (measured.status, distance.value) == ("ok", pytest.approx(4, abs=0.05))
    # 0.6 of 4 groups and a new one: the third of the scores.
    assert distance.interval == pytest.approx((distance.value - 1.5, distance.value + 1.5))
    assert measured.measurements["eyes_head_deg"].interval is None
    for given, said in (
        ({"least": {"brain": 2.0}}, r"withheld: brain not found with confidence \(0.911, needed 2.000\)"),
        ({"within_mm": [("left_eye", "right_eye", 5, 9)]}, "withheld: implausible geometry: left eye and right eye "
         "lie 4 mm apart, in no known volume less than 5 or more than 9"),
        ({"together": 0.95}, r"withheld: brain, left eye, right eye not found with confidence together \(0.91"),
        ({"rival": 0.3}, r"withheld: two places look alike \(the second scores 0.35 of the first\); look at the pic"),
        ({"clear_mm": {"left_eye": 1, "brain": 6}}, "withheld: brain lies 1 mm from the edge of the volume, 6 are "
         "needed; take a volume that shows all of it"),
    ):  # fmt: skip
        (withheld,) = Measurer(guarded_predictor(0.35, **{"rival": 1.0, **given})).results([volume])
        assert withheld.status == "abstained"
        assert re.match(said, withheld.reason), withheld.reason
        (free,) = Measurer(guarded_predictor(0.35, **given), gate=False).results([volume])
        assert free.status == "ok"
    for second, status in ((0.6, "abstained"), (0.4, "ok")):
        (told,) = Measurer(guarded_predictor(0.2, second)).results([volume])
        assert told.status == status, "what would be measured by itself is a second head"
    with pytest.raises(UsageError, match=r"--coverage: expected at most 0.8"):
        Measurer(guarded_predictor(), coverage=0.9)
    write_volume(Volume(values, np.eye(4)), tmp_path / "a.nii.gz")
    predict(guarded_predictor(), [tmp_path / "a.nii.gz"], tmp_path / "out", facts={"notice": "research"})
    (row,) = rows_of(tmp_path / "out")
    assert float(row["eye_distance_high"]) - float(row["eye_distance_low"]) == pytest.approx(3, abs=1e-3)
