"""Out to each annotation tool and in again: names bit for bit, points within 0.01 px, what is missing stays missing."""

import csv
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from aop_pose.core.schemas import AOP, HEAD
from aop_pose.formats.convert import convert
from aop_pose.formats.format import Reading
from aop_pose.formats.label import Label
from aop_pose.formats.registry import FORMATS, check, labels_of, read_labels
from aop_pose.io.volumes import open_volume
from tests.formats.made_up import picture, save, save_nifti

TOOLS = ("coco", "label-studio", "cvat", "slicer", "napari", "labelme")
NAMES = ("a/ü 1.png", "b/日本 x.png", "01.png", "deep/er/é.jpeg", "deep/O'Neil & <co>.png")
POINTS = np.array([(30.123456, 10.5), (-0.5, 39.4987), (58.25, 20.75)])
MISSING = 2
"""Row whose FH1 nobody marked."""


def labelled(folder):
    """Pictures below sub-folders, one in colour, and their labels in a scrambled order."""
    lines = ["Filename,PS1,PS2,FH1"]
    for i, name in enumerate(NAMES):
        pixels = picture(i)
        save(folder / name, np.stack([pixels, pixels, pixels // 2], axis=2) if name.endswith("jpeg") else pixels)
    for i in (3, 0, 4, 2, 1):
        places = [f'"({x:.6f}, {y:.6f})"' for x, y in POINTS + np.array([i / 7, -i / 9])]
        places[2] = '"(-1, -1)"' if i == MISSING else places[2]
        lines.append(f"{NAMES[i]},{','.join(places)}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def points_in(source, name=None):
    """Points by the name of the picture, half skeletons too."""
    format = FORMATS[name] if name else next(one for one in FORMATS.values() if one.fits(source))
    items = list(labels_of(format, source, Reading(missing=True)))
    assert [item for item in items if not isinstance(item, Label)] == []
    return {item.name: item.points for item in items}


@pytest.fixture
def source(tmp_path):
    return labelled(tmp_path / "src")


@pytest.mark.parametrize("tool", TOOLS)
def test_there_and_back(tmp_path, source, tool):
    expected = points_in(source)
    assert len(expected) == len(NAMES)
    assert set(expected) == set(NAMES)
    done = convert(source, tmp_path / "out", tool)
    assert (done.written, done.skipped) == (len(NAMES), [])
    for name in NAMES:
        assert (tmp_path / "out" / "images" / name).read_bytes() == (source / name).read_bytes()
    found = points_in(tmp_path / "out")
    assert set(found) == set(NAMES)
    for name, points in expected.items():
        np.testing.assert_allclose(found[name], points, atol=0.001)
    assert np.isnan(found[NAMES[MISSING]][2]).all()
    report = check(tmp_path / "out")
    assert len(report.findings) == 1
    assert f"{NAMES[MISSING]}: expected PS1, PS2, FH1, found that nobody marked FH1" in str(report.findings[0])


@pytest.mark.parametrize("tool", TOOLS)
def test_from_tool_to_tool_and_to_a_table(tmp_path, source, tool):
    convert(source, tmp_path / "one", tool)
    convert(tmp_path / "one", tmp_path / "two", TOOLS[TOOLS.index(tool) - 1])
    done = convert(tmp_path / "two", tmp_path / "back", "iugc")
    assert [(one.name, one.reason) for one in done.skipped] == [
        (NAMES[MISSING], "expected PS1, PS2, FH1, found that nobody marked FH1")
    ]
    expected = points_in(source)
    labels = {label.name: label for label in read_labels(tmp_path / "back")}
    # A colour picture is stored in gray, as the predictor sees it.
    assert set(labels) == {name.replace(".jpeg", ".png") for name in NAMES} - {NAMES[MISSING]}
    for name, label in labels.items():
        found = expected.get(name, expected.get(name.replace(".png", ".jpeg")))
        np.testing.assert_allclose(label.points, found, atol=0.002)


@pytest.mark.parametrize("tool", TOOLS)
def test_heads_have_four_points(tmp_path, tool):
    save(tmp_path / "src" / "h.png", picture(1))
    row = "h.png,5,20,55,20.5,30,4.25,30,36"
    header = "Filename," + ",".join(
        f"{axis}_{end}_{along}" for axis in ("ofd", "bpd") for end in (1, 2) for along in "xy"
    )
    (tmp_path / "src" / "labels.csv").write_text(f"{header}\n{row}\n")
    convert(tmp_path / "src", tmp_path / "out", tool)
    assert convert(tmp_path / "out", tmp_path / "back", "head-csv").written == 1
    (label,) = read_labels(tmp_path / "back", schema=HEAD)
    np.testing.assert_allclose(label.points, [(5, 20), (55, 20.5), (30, 4.25), (30, 36)], atol=1e-3)
    # Training and evaluation read the tool's own file, too.
    (label,) = read_labels(tmp_path / "out", schema=HEAD)
    assert label.schema is HEAD


def write_scrambled(file, tool):
    """The same annotations in another order of pictures and of points."""
    if tool == "cvat":
        tree = ElementTree.parse(file)
        for skeleton in tree.getroot().iter("skeleton"):
            skeleton[:] = reversed(skeleton)
        images = tree.getroot().findall("image")
        for image in images:
            tree.getroot().remove(image)
        tree.getroot().extend(reversed(images))
        tree.write(file, encoding="utf-8")
        return
    said = json.loads(file.read_text(encoding="utf-8"))
    if tool == "coco":
        said["categories"][0]["keypoints"].reverse()
        for one in said["annotations"]:
            one["keypoints"] = np.array(one["keypoints"]).reshape(-1, 3)[::-1].ravel().tolist()
        said["annotations"].reverse()
    else:
        for task in said:
            task["annotations"][0]["result"].reverse()
        said.reverse()
    file.write_text(json.dumps(said), encoding="utf-8")


@pytest.mark.parametrize("tool", ["coco", "label-studio", "cvat"])
def test_points_are_found_by_name_in_any_order(tmp_path, source, tool):
    expected = points_in(source)
    convert(source, tmp_path / "out", tool)
    write_scrambled(tmp_path / "out" / FORMATS[tool].file, tool)
    found = points_in(tmp_path / "out")
    for name, points in expected.items():
        np.testing.assert_allclose(found[name], points, atol=0.001)


def test_what_is_hidden_stays_so_between_coco_and_cvat(tmp_path, source):
    convert(source, tmp_path / "coco", "coco")
    file = tmp_path / "coco" / "annotations.json"
    said = json.loads(file.read_text(encoding="utf-8"))
    said["annotations"][0]["keypoints"][5] = 1
    file.write_text(json.dumps(said), encoding="utf-8")
    convert(tmp_path / "coco", tmp_path / "cvat", "cvat")
    occluded = ElementTree.parse(tmp_path / "cvat" / "annotations.xml").findall(".//points[@occluded='1']")
    assert [one.get("label") for one in occluded] == ["PS2"]
    convert(tmp_path / "cvat", tmp_path / "again", "coco")
    seen = json.loads((tmp_path / "again" / "annotations.json").read_text())["annotations"][0]["keypoints"][2::3]
    assert seen == [2, 1, 2]


def test_tools_that_count_from_the_edge_get_half_a_pixel_more(tmp_path):
    save(tmp_path / "src" / "a.png", picture(0))
    (tmp_path / "src" / "labels.csv").write_text('Filename,PS1,PS2,FH1\na.png,"(0, 0)","(-0.5, 39.5)","(59, 39)"\n')
    # (0, 0) stands for "not found" in label files, so it is marked in another way here.
    (tmp_path / "src" / "labels.csv").write_text('Filename,PS1,PS2,FH1\na.png,"(0, 1)","(-0.5, 39.5)","(59, 39)"\n')
    for tool in ("cvat", "label-studio", "labelme"):
        convert(tmp_path / "src", tmp_path / tool, tool)
    texts = [one.get("points") for one in ElementTree.parse(tmp_path / "cvat" / "annotations.xml").iter("points")]
    assert texts == ["0.500000,1.500000", "0.000000,40.000000", "59.500000,39.500000"]
    (task,) = json.loads((tmp_path / "label-studio" / "tasks.json").read_text())
    values = [one["value"] for one in task["annotations"][0]["result"]]
    assert [(one["x"], one["y"]) for one in values][1] == (0, 100)
    said = json.loads((tmp_path / "labelme" / "images" / "a.json").read_text())
    assert [one["points"] for one in said["shapes"]] == [[[0.5, 1.5]], [[0, 40]], [[59.5, 39.5]]]


def test_slicer_takes_volumes_by_their_place_in_millimetres(tmp_path):
    save_nifti(tmp_path / "src" / "volumes" / "p/v 1.nii.gz", (12, 10, 8))
    header = "Filename," + ",".join(f"{p}_{a}" for p in ("brain", "left_eye", "right_eye") for a in "ijk")
    (tmp_path / "src" / "labels.csv").write_text(f"{header}\np/v 1.nii.gz,6,5,4,3,4.5,2,,,\n")
    convert(tmp_path / "src", tmp_path / "out", "slicer")
    file = tmp_path / "out" / "markups" / "p" / "v 1.nii.gz.mrk.json"
    (said,) = json.loads(file.read_text())["markups"]
    affine = open_volume(tmp_path / "src" / "volumes" / "p/v 1.nii.gz").affine(None)
    x, y, z = affine[:3, :3] @ (6, 5, 4) + affine[:3, 3]
    assert said["coordinateSystem"] == "LPS"
    np.testing.assert_allclose(said["controlPoints"][0]["position"], (-x, -y, z))
    assert [one["positionStatus"] for one in said["controlPoints"]] == ["defined", "defined", "undefined"]
    convert(tmp_path / "out", tmp_path / "back", "points-3d")
    with open(tmp_path / "back" / "labels.csv", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert [row[f"left_eye_{axis}"] for axis in "ijk"] == ["3", "4.5", "2"]
    assert row["right_eye_i"] == ""
    # In RAS the first two axes are turned round.
    text = json.loads(file.read_text())
    text["markups"][0]["coordinateSystem"] = "RAS"
    for one in text["markups"][0]["controlPoints"]:
        one["position"] = [-one["position"][0], -one["position"][1], one["position"][2]]
    file.write_text(json.dumps(text))
    (label,) = read_labels(tmp_path / "out", schema=None)
    np.testing.assert_allclose(label.points[:2], [(6, 5, 4), (3, 4.5, 2)], atol=1e-4)


def test_a_turned_picture_is_shown_as_it_was_labelled(tmp_path):
    """A tool may pay no heed to a turn in EXIF: such a picture is stored turned, under a name of its own."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "src").mkdir()
    Image.fromarray(picture(3, 40, 60)).save(tmp_path / "src" / "t.jpg", exif=exif)
    (tmp_path / "src" / "labels.csv").write_text('Filename,PS1,PS2,FH1\nt.jpg,"(30, 10)","(10, 10)","(58, 20)"\n')
    convert(tmp_path / "src", tmp_path / "out", "coco")
    (image,) = json.loads((tmp_path / "out" / "annotations.json").read_text())["images"]
    assert (image["file_name"], image["width"], image["height"]) == ("t.png", 60, 40)
    assert AOP.name in (tmp_path / "out" / "annotations.json").read_text()
