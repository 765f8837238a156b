"""A folder of made-up fetuses is complete or not there, the same bytes each time, and readable as 3-D labels."""

import filecmp

import numpy as np
import pytest

from aop_pose.cli import main
from aop_pose.core.schemas import FETUS
from aop_pose.errors import UsageError
from aop_pose.formats.registry import check, read_labels
from aop_pose.io.volumes import read_volume
from aop_pose.phantom import make_fetus, write_fetus_phantoms
from aop_pose.phantom.fetus import make_fetus_sequence, shape_of


def test_volumes_and_table_are_those_of_make_fetus(tmp_path):
    done = []
    out = write_fetus_phantoms(tmp_path / "set", 2, seed=1, size=44, advance=done.append)
    assert done == [1, 2]
    assert sorted(path.name for path in out.iterdir()) == ["labels.csv", "volumes"]
    rows = read_labels(out / "labels.csv", out, None)
    assert [row.name for row in rows] == ["0000.nii.gz", "0001.nii.gz"]
    for index, row in enumerate(rows):
        phantom = make_fetus(1, index, shape_of(44))
        assert row.schema is FETUS
        np.testing.assert_allclose(row.points, phantom.keypoints.coords, atol=5e-4)
        assert float(row.extras["age_days"]) == pytest.approx(phantom.scene.attitude.trunk.body.age_days, abs=0.05)
        volume = read_volume(row.path)
        np.testing.assert_array_equal(volume.voxels, phantom.volume.voxels)
        np.testing.assert_allclose(volume.affine, phantom.volume.affine, atol=1e-5)
    assert check(out).findings == []


def test_the_same_seed_gives_the_same_bytes_and_a_longer_set_begins_with_a_shorter(tmp_path):
    first = write_fetus_phantoms(tmp_path / "a", 1, seed=2, size=32)
    second = write_fetus_phantoms(tmp_path / "b", 2, seed=2, size=32)
    assert filecmp.cmp(first / "volumes" / "0000.nii.gz", second / "volumes" / "0000.nii.gz", shallow=False)
    assert (second / "labels.csv").read_text().startswith((first / "labels.csv").read_text())


def test_a_moving_fetus_is_one_file_with_a_row_a_time_point(tmp_path):
    still = write_fetus_phantoms(tmp_path / "still", 2, seed=2, size=32)
    moving = write_fetus_phantoms(tmp_path / "moving", 2, seed=2, size=32, times=3)
    rows, stills = read_labels(moving / "labels.csv", moving, None), read_labels(still / "labels.csv", still, None)
    assert [(row.name, row.index) for row in rows] == [(f"000{n}.nii.gz", t) for n in range(2) for t in range(3)]
    for number in range(2):
        first, later = rows[3 * number], rows[3 * number + 2]
        np.testing.assert_array_equal(first.volume().voxels, stills[number].volume().voxels)
        assert {**first.extras, "index": ""} == {**stills[number].extras, "index": ""}
        expected = list(make_fetus_sequence(2, number, 3, shape_of(32)))[2]
        np.testing.assert_array_equal(later.volume().voxels, expected.volume.voxels)
        found = later.points
        np.testing.assert_allclose(found, expected.keypoints.coords, atol=5e-4)
        assert np.abs(found - first.points).max() > 0.1
    assert check(moving).findings == []


def test_proportions_stay_those_of_the_default():
    assert shape_of(88) == (88, 56, 56)
    assert shape_of(176) == (176, 112, 112)


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_fetus_phantoms(tmp_path / "set", 3, seed=0, size=32, advance=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"seed": -1}, {"size": 5}, {"size": 4000}, {"times": 0}, {"times": 999}]
)
def test_a_wrong_request_writes_nothing(tmp_path, wrong):
    with pytest.raises(UsageError, match="phantom: expected"):
        write_fetus_phantoms(tmp_path / "deep" / "set", **{"count": 1, "seed": 0, **wrong})
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_set(tmp_path, capsys):
    out = tmp_path / "fetuses"
    assert main.run(["dataset", "phantom", str(out), "--schema", "fetus", "--count", "1", "--size", "32"]) == 0
    assert capsys.readouterr().out == f"1 phantom in {out}\n"
    assert read_volume(out / "volumes" / "0000.nii.gz").shape == (32, 20, 20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--schema", "fetus", "--device", "hazy"], "--device: expected none with --schema fetus, found 'hazy'"),
        (["--schema", "fetus", "--size", "4"], "phantom: expected a size of 32 to 256 voxels for fetus, found 4"),
        (["--times", "3"], "--times: expected none with --schema aop, found 3"),
        (["--schema", "fetus", "--times", "101"], "phantom: expected 1 to 100 time points, found 101"),
        (["--schema", "fetus", "--difficulty", "1.5"], "phantom: expected a difficulty of 0 to 1, found 1.5"),
        (["--difficulty", "0.5"], "--difficulty: expected none with --schema aop, found 0.5"),
        (["--schema", "foot"], "--schema: expected aop, head or fetus, found 'foot'"),
        (["--size", "0"], "phantom: expected a size of 64 to 2048 pixels, found 0"),
    ],
)
def test_options_that_make_no_sense_are_one_line(tmp_path, capsys, options, message):
    assert main.run(["dataset", "phantom", str(tmp_path / "set"), "--count", "1", *options]) == 2
    assert capsys.readouterr().err == f"aop-pose: error: {message}\n"
    assert list(tmp_path.iterdir()) == []
