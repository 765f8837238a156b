"""A head phantom's axes are exact, its skull lies where they end, and a seed gives the same bytes."""

import csv
import math

import numpy as np
import pytest

from aop_pose.cli import main
from aop_pose.core.measure import measure
from aop_pose.core.schemas import HEAD
from aop_pose.errors import UsageError
from aop_pose.formats.head import millimetres
from aop_pose.formats.registry import check, read_labels
from aop_pose.geometry import implausible_axes, regularise_axes
from aop_pose.phantom import make_head_phantom, write_head_phantoms

INDICES = range(12)


@pytest.mark.parametrize("index", INDICES)
def test_the_axes_are_those_of_one_ellipse_whose_perimeter_is_stated(index):
    phantom = make_head_phantom(0, index)
    coords = phantom.keypoints.coords
    assert regularise_axes(coords) == pytest.approx(coords, abs=1e-9)
    assert implausible_axes(coords) == ""
    assert coords[0, 0] <= coords[1, 0]
    assert coords[2, 1] <= coords[3, 1]
    assert phantom.keypoints.outside(phantom.frame.width, phantom.frame.height) == []
    measured = measure(phantom.keypoints, phantom.frame.spacing).measurements
    assert measured["hc_ramanujan_mm"].value == pytest.approx(phantom.circumference_mm)
    assert 60 <= phantom.circumference_mm <= 340


def test_the_skull_is_bright_just_inside_the_ends_and_tissue_begins_beyond_them():
    """Read off the pixels, in half axes from the centre: 0.9 to 1.0 is bone, on the mean of many heads."""
    profiles = []
    for index in INDICES:
        phantom = make_head_phantom(0, index)
        coords, pixels = phantom.keypoints.coords, phantom.frame.pixels.astype(float)
        middle = coords.mean(axis=0)
        for end in coords:
            places = middle + (end - middle) * np.array([[0.8], [0.95], [1.12]])
            column, row = places.round().astype(int).clip(1, [pixels.shape[1] - 2, pixels.shape[0] - 2]).T
            profiles.append([pixels[r - 1 : r + 2, c - 1 : c + 2].mean() for r, c in zip(row, column, strict=True)])
    brain, bone, tissue = np.mean(profiles, axis=0)
    assert bone > tissue + 15
    assert bone > brain + 40


def test_a_seed_gives_the_same_head_in_any_company():
    one, again, other = make_head_phantom(3, 2, 128), make_head_phantom(3, 2, 128), make_head_phantom(3, 1, 128)
    assert (one.frame.pixels == again.frame.pixels).all()
    assert one.frame.pixels.shape == (86, 128)
    assert not np.array_equal(one.keypoints.coords, other.keypoints.coords)


@pytest.mark.parametrize("request_", [(-1, 0, 256), (0, -1, 256), (0, 0, 32)])
def test_what_cannot_be_made_is_one_line(request_):
    with pytest.raises(UsageError, match="phantom: expected"):
        make_head_phantom(*request_)


def test_a_folder_is_a_clean_head_csv(tmp_path):
    folder = write_head_phantoms(tmp_path / "heads", 4, seed=1, size=128)
    report = check(folder)
    assert (report.checked, report.findings) == (4, [])
    for index, head in enumerate(read_labels(folder / "labels.csv", folder, HEAD)):
        phantom = make_head_phantom(1, index, 128)
        assert head.keypoints.coords == pytest.approx(phantom.keypoints.coords, abs=6e-4)
        assert millimetres(head.extras) == pytest.approx(phantom.frame.spacing[0], rel=1e-7)
        assert millimetres(head.extras, "head_circumference_mm") == pytest.approx(phantom.circumference_mm, abs=6e-4)
    again = write_head_phantoms(tmp_path / "again", 4, seed=1, size=128)
    for path in folder.rglob("*.*"):
        assert path.read_bytes() == (again / path.relative_to(folder)).read_bytes()


def test_the_command_makes_heads_and_refuses_a_device(capsys, tmp_path):
    command = ["dataset", "phantom", str(tmp_path / "h"), "--count", "2", "--size", "96", "--schema"]
    assert main.run([*command, "head"]) == 0
    with open(tmp_path / "h" / "labels.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["Filename"] for row in rows] == ["0000.png", "0001.png"]
    assert all(math.isfinite(float(value)) for row in rows for name, value in row.items() if name != "Filename")
    for more, message in ((["head", "--device", "wide"], "--device: expected none"), (["face"], "--schema: expected")):
        capsys.readouterr()
        assert main.run([*command, *more]) == 2
        assert message in capsys.readouterr().err
