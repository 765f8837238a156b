"""A folder of phantoms is complete or not there, the same bytes each time, and says what make_phantom says."""

import ast
import csv
import filecmp
from pathlib import Path

import cv2
import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.phantom import DEVICES, make_phantom, write_phantoms


def files_below(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def test_pictures_masks_and_table_are_those_of_make_phantom(tmp_path):
    done = []
    out = write_phantoms(tmp_path / "set", 3, seed=1, advance=done.append)
    assert done == [1, 2, 3]
    with open(out / "labels.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["Filename", "PS1", "PS2", "FH1", "AoP", "device"]
    assert [row["Filename"] for row in rows] == ["0000.png", "0001.png", "0002.png"]
    for index, row in enumerate(rows):
        phantom = make_phantom(1, index)
        for folder, expected in (("images", phantom.frame.pixels), ("masks", phantom.mask)):
            written = cv2.imread(str(out / folder / row["Filename"]), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(written, expected)
        points = [ast.literal_eval(row[name]) for name in ("PS1", "PS2", "FH1")]
        np.testing.assert_allclose(points, phantom.keypoints.coords, atol=5e-4)
        assert len(row["PS1"].split(".")[1].split(",")[0]) == 3
        assert 60 <= float(row["AoP"]) <= 180
        assert row["device"] == phantom.device


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    first = write_phantoms(tmp_path / "a", 2, seed=2, size=128, device="hazy")
    second = write_phantoms(tmp_path / "b", 2, seed=2, size=128, device="hazy")
    names = files_below(first)
    assert names == files_below(second)
    assert len(names) == 5
    _, differing, failed = filecmp.cmpfiles(first, second, [str(name) for name in names], shallow=False)
    assert (differing, failed) == ([], [])


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("keep")
    with pytest.raises(UsageError, match="expected a new or empty folder"):
        write_phantoms(out, 1, seed=0, size=64)
    with pytest.raises(UsageError, match=r"expected a data set to replace, found 'notes\.txt'"):
        write_phantoms(out, 1, seed=0, size=64, overwrite=True)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_an_earlier_set_is_replaced_when_asked(tmp_path):
    out = write_phantoms(tmp_path / "set", 2, seed=0, size=64)
    with pytest.raises(UsageError, match="expected a new or empty folder"):
        write_phantoms(out, 1, seed=0, size=64)
    write_phantoms(out, 1, seed=0, size=64, overwrite=True)
    assert len(files_below(out)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_empty_folder_is_filled_and_a_file_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert len(files_below(write_phantoms(tmp_path / "empty", 1, seed=0, size=64))) == 3
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="found a file"):
        write_phantoms(tmp_path / "file", 1, seed=0, size=64)
    with pytest.raises(UsageError, match="cannot be written"):
        write_phantoms(tmp_path / "file" / "below", 1, seed=0, size=64)


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path / "set", 3, seed=0, size=64, advance=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"count": 0}, {"seed": -1}, {"size": 5}, {"device": "wild"}])
def test_a_wrong_request_writes_nothing(tmp_path, wrong):
    with pytest.raises(UsageError):
        write_phantoms(tmp_path / "deep" / "set", **{"count": 1, "seed": 0, **wrong})
    assert list(tmp_path.iterdir()) == []


def test_the_packaged_samples_are_what_their_card_says():
    samples = Path(__file__).resolve().parents[2] / "datasets" / "phantom"
    with open(samples / "labels.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12
    assert {row["device"] for row in rows} == set(DEVICES)
    angles = sorted(float(row["AoP"]) for row in rows)
    assert angles[0] < 70
    assert angles[-1] > 160
    for index, row in enumerate(rows):
        phantom = make_phantom(102, index)
        points = [ast.literal_eval(row[name]) for name in ("PS1", "PS2", "FH1")]
        np.testing.assert_allclose(points, phantom.keypoints.coords, atol=5e-4)
        picture = cv2.imread(str(samples / "images" / row["Filename"]), cv2.IMREAD_UNCHANGED)
        # Another build of OpenCV may round a sum differently.
        assert np.abs(picture.astype(int) - phantom.frame.pixels).mean() < 0.05
    assert sum(path.stat().st_size for path in samples.rglob("*") if path.is_file()) < 1_000_000
