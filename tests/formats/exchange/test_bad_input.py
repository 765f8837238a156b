"""What comes back broken is named with what was expected, and stops nothing else."""

import json
import zipfile

import pytest

from aop_pose.cli.main import run
from aop_pose.errors import UsageError
from aop_pose.formats.convert import convert
from aop_pose.formats.registry import check, read_labels
from tests.formats.made_up import iugc_folder, picture, save

TOOLS = ("coco", "label-studio", "cvat", "slicer", "napari", "labelme")
FILES = {"coco": "annotations.json", "label-studio": "tasks.json", "cvat": "annotations.xml"}
EACH = {"slicer": "markups/01.png.mrk.json", "napari": "points/01.png.csv", "labelme": "images/01.json"}


@pytest.fixture
def out(tmp_path):
    def made(tool):
        convert(iugc_folder(tmp_path / "src", 3), tmp_path / tool, tool)
        return tmp_path / tool, tmp_path / tool / (FILES | EACH)[tool]

    return made


def reasons(source, **arguments):
    return {one.name: one.reason for one in convert(source, source.with_name("back"), "iugc", **arguments).skipped}


def change(file, *pairs):
    text = file.read_text(encoding="utf-8")
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("tool", TOOLS)
def test_an_annotation_for_an_unknown_picture_is_said(out, tool):
    folder, _ = out(tool)
    (folder / "images" / "01.png").unlink()
    found = reasons(folder)
    assert list(found) == ["01.png"]
    assert found["01.png"].startswith("no picture 01.png: looked for")
    assert len(check(folder).findings) == 1


@pytest.mark.parametrize("tool", TOOLS)
def test_an_unknown_label_is_said_with_the_known_ones(out, tool):
    folder, file = out(tool)
    if tool in FILES:
        # In one picture of three only.
        head, _, tail = file.read_text().rpartition("FH1")
        if tool == "coco":
            pytest.skip("COCO names points once for all pictures")
        file.write_text(f"{head}PS3{tail}")
    else:
        change(file, ("FH1", "PS3"))
    (reason,) = reasons(folder).values()
    assert reason == "expected labels PS1, PS2, FH1 (aop), found 'PS3'"


@pytest.mark.parametrize("tool", TOOLS)
def test_labels_of_nothing_that_is_known_end_the_conversion(out, tool):
    folder, _ = out(tool)
    for file in folder.rglob("*"):
        if file.is_file() and file.suffix in (".json", ".xml", ".csv"):
            file.write_text(file.read_text().replace("PS1", "a").replace("PS2", "b").replace("FH1", "c"))
    if tool == "slicer":
        # Of volumes any points may be labelled; these are none.
        assert "no picture 00.png" in next(iter(convert_error(folder).values()))
        return
    with pytest.raises(
        UsageError, match=r"expected points labelled as one of the schemas \(aop: PS1, PS2, FH1; head: "
    ):
        convert(folder, folder.with_name("back"), "iugc")
    assert len(check(folder).findings) == 1


def convert_error(folder):
    with pytest.raises(UsageError) as error:
        convert(folder, folder.with_name("back"), "points-3d")
    return {"": str(error.value)}


@pytest.mark.parametrize("tool", TOOLS)
def test_half_a_skeleton_is_left_out_and_named(out, tool):
    folder, file = out(tool)
    if tool == "coco":
        said = json.loads(file.read_text())
        said["annotations"][1]["keypoints"][6:] = [0, 0, 0]
        file.write_text(json.dumps(said))
    elif tool == "label-studio":
        said = json.loads(file.read_text())
        said[1]["annotations"][0]["result"].pop()
        file.write_text(json.dumps(said))
    elif tool == "cvat":
        lines = file.read_text().splitlines()
        at = [i for i, line in enumerate(lines) if 'label="FH1"' in line][1]
        file.write_text("\n".join(lines[:at] + lines[at + 1 :]))
    elif tool == "napari":
        file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    elif tool == "labelme":
        said = json.loads(file.read_text())
        said["shapes"].pop()
        file.write_text(json.dumps(said))
    else:
        said = json.loads(file.read_text())
        said["markups"][0]["controlPoints"].pop()
        file.write_text(json.dumps(said))
    assert reasons(folder) == {"01.png": "expected PS1, PS2, FH1, found that nobody marked FH1"}


def test_a_turned_task_is_refused(out):
    folder, file = out("label-studio")
    said = json.loads(file.read_text())
    for mark in said[2]["annotations"][0]["result"]:
        mark["image_rotation"] = 90
    file.write_text(json.dumps(said))
    assert reasons(folder)["02.png"].startswith("expected a picture that is not turned, found image_rotation 90")


@pytest.mark.parametrize("tool", ["coco", "label-studio", "cvat"])
def test_two_annotators_of_one_task_are_two_rows(tmp_path, tool):
    source = iugc_folder(tmp_path / "src", 2, "Filename,PS1,PS2,FH1,reader")
    text = (source / "labels.csv").read_text().replace(",90.0", ",anna")
    (source / "labels.csv").write_text(text + '00.png,"(31, 10)","(10, 12)","(30, 20)",ben\n')
    assert convert(source, tmp_path / "out", tool).written == 3
    assert len(list((tmp_path / "out" / "images").iterdir())) == 2
    done = convert(tmp_path / "out", tmp_path / "back", "iugc")
    assert (done.written, done.skipped) == (3, [])
    lines = (tmp_path / "back" / "labels.csv").read_text().splitlines()
    assert lines[0] == "Filename,PS1,PS2,FH1,AoP,reader"
    assert sorted((line.split(",")[0], line.rsplit(",", 1)[1]) for line in lines[1:]) == [
        ("00.png", "anna"), ("00.png", "ben"), ("01.png", "anna")
    ]  # fmt: skip
    assert check(tmp_path / "back").findings == []
    # Nothing is trained on two labels of one picture.
    with pytest.raises(
        UsageError, match=r"those of anna and ben for 00\.png; bring them together with aop-pose dataset"
    ):
        read_labels(tmp_path / "back")


@pytest.mark.parametrize("tool", ["slicer", "napari", "labelme"])
def test_tools_with_one_file_a_picture_take_one_reading(tmp_path, tool):
    source = iugc_folder(tmp_path / "src", 1, "Filename,PS1,PS2,FH1,reader")
    text = (source / "labels.csv").read_text().replace(",90.0", ",anna")
    (source / "labels.csv").write_text(text + '00.png,"(31, 10)","(10, 12)","(30, 20)",ben\n')
    (left,) = convert(source, tmp_path / "out", tool).skipped
    assert left.reason == f"expected one reading of a picture for {tool}, found another one"


def test_two_annotations_that_nobody_tells_apart_are_both_left_out(out):
    folder, file = out("coco")
    said = json.loads(file.read_text())
    said["annotations"].append(said["annotations"][0] | {"id": 9})
    file.write_text(json.dumps(said))
    found = [one.reason for one in convert(folder, folder.with_name("back"), "iugc").skipped]
    assert found == ["expected each picture once, found 2 annotations of it by readers without a name"] * 2


def test_a_picture_of_another_size_is_said(out):
    folder, _ = out("cvat")
    save(folder / "images" / "00.png", picture(0, 120, 80))
    assert reasons(folder) == {"00.png": "expected a picture of 60x40 as it was annotated, found 120x80"}


def test_a_zip_that_leads_out_is_refused_and_one_that_does_not_is_read(out, tmp_path, capsys):
    folder, file = out("cvat")
    for name, evil in (("good.zip", ()), ("bad.zip", ("../x.xml",))):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.write(file, "annotations.xml")
            for one in evil:
                archive.writestr(one, "<annotations/>")
    assert convert(folder / "good.zip", tmp_path / "back", "iugc").written == 3
    assert run(["dataset", "convert", str(folder / "bad.zip"), str(tmp_path / "no"), "--to", "iugc"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"aop-pose: error: {folder / 'bad.zip'}: a zip with a name in it that leads out of it ('..'): refused"
    ]
    assert run(["dataset", "check", str(folder / "bad.zip")]) == 1


@pytest.mark.parametrize(
    ("tool", "text", "said"),
    [
        ("coco", "{", ":1: expected JSON, found Expecting property name"),
        ("label-studio", '[{"data": ', ":1: expected JSON, found Expecting value"),
        ("cvat", "<annotations><image>", ":1: expected XML, found "),
        ("cvat", '<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "found a document type"),
        ("cvat", "<annotations><track/></annotations>", "found <track>: export the task as 'CVAT for images 1.1'"),
        ("slicer", "[1", ":1: expected JSON"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(out, tool, text, said):
    folder, file = out(tool)
    for other in folder.glob("markups/*"):
        other.write_text(text)
    file.write_text(text)
    assert said in str(check(folder).findings[0])
    with pytest.raises(UsageError) as error:
        convert(folder, folder.with_name("back"), "iugc")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("tool", "pairs", "said"),
    [
        ("coco", [('"image_id": 2', '"image_id": 77')], "image_id: expected the id of one of the 3 images, found 77"),
        ("coco", [("12.0,", '"x",')], "keypoints: expected 9 finite numbers"),
        (
            "cvat",
            [('points="30.500000,21.500000"', 'points="1,2;3,4"')],
            "FH1: expected one point x,y, found '1,2;3,4'",
        ),
        ("cvat", [('points="30.500000,21.500000"', 'points="1,nan"')], "FH1: expected a number, found 'nan'"),
        (
            "label-studio",
            [('"original_width": 60', '"original_width": null')],
            "original_width, original_height: expected",
        ),
        ("slicer", [('"LPS"', '"IJK"')], "coordinateSystem: expected LPS or RAS, found IJK"),
        ("slicer", [('"label": "PS1"', '"lable": "PS1"')], "expected 'label', found none"),
        (
            "napari",
            [("index,axis-0,axis-1,label", "index,axis-0,axis-1,name")],
            "expected a column label with the names",
        ),
        ("labelme", [('"01.png"', '"../../../etc/01.png"')], "which leads out of it"),
        ("labelme", [('"FH1"', '"PS1"')], "expected PS1 once, found it again"),
    ],
)
def test_one_bad_annotation_is_named_and_stops_nothing(out, tool, pairs, said):
    folder, file = out(tool)
    if tool == "coco" and pairs[0][0] == "12.0,":
        value = json.loads(file.read_text())
        value["annotations"][1]["keypoints"][0] = "x"
        file.write_text(json.dumps(value))
    elif tool == "label-studio":
        value = json.loads(file.read_text())
        value[1]["annotations"][0]["result"][0]["original_width"] = None
        file.write_text(json.dumps(value))
    else:
        change(file, *pairs)
    done = convert(folder, folder.with_name("back"), "iugc")
    assert done.written == 2
    assert any(said in one.reason for one in done.skipped), done.skipped


def test_a_task_that_nobody_annotated_is_said(out):
    folder, file = out("label-studio")
    said = json.loads(file.read_text())
    said[0]["predictions"], said[0]["annotations"] = said[0]["annotations"], []
    said[1]["annotations"][0]["was_cancelled"] = True
    file.write_text(json.dumps(said))
    assert reasons(folder) == {
        "00.png": "nobody has annotated it yet; predictions are proposals, not labels",
        "01.png": "nobody has annotated it yet",
    }


@pytest.mark.parametrize(
    "image", ["/data/upload/3/0a1b2c3d-01.png", "/data/local-files/?d=images/01.png", "https://host/a/b/images/01.png",
              "s3://bucket/deep/images/01.png"]
)  # fmt: skip
def test_pictures_are_found_wherever_label_studio_serves_them(out, image):
    folder, file = out("label-studio")
    said = json.loads(file.read_text())
    said[1]["data"] = {"image": image}
    file.write_text(json.dumps(said))
    assert {label.name for label in read_labels(folder)} >= {"00.png", "02.png"}
    assert [label.path.name for label in read_labels(folder)] == ["00.png", "01.png", "02.png"]
