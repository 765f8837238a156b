"""Exports opened by the tools' own libraries, and files as the tools themselves save them, read here."""

import json
from pathlib import Path

import numpy as np
import pytest

from aop_pose.formats.convert import convert
from aop_pose.formats.registry import read_labels
from tests.formats.exchange.test_round_trip import NAMES, labelled, points_in
from tests.formats.made_up import iugc_folder, picture, save

HERE = Path(__file__).parent


@pytest.fixture
def source(tmp_path):
    return labelled(tmp_path / "src")


def test_pycocotools_reads_what_is_written(tmp_path, source, capsys):
    coco = pytest.importorskip("pycocotools.coco")
    convert(source, tmp_path / "out", "coco")
    read = coco.COCO(str(tmp_path / "out" / "annotations.json"))
    (category,) = read.loadCats(read.getCatIds())
    assert category["keypoints"] == ["PS1", "PS2", "FH1"]
    # Counted from 1: PS1 to PS2, PS1 to FH1.
    assert category["skeleton"] == [[1, 2], [1, 3]]
    expected = points_in(source)
    for image in read.loadImgs(read.getImgIds()):
        (one,) = read.loadAnns(read.getAnnIds(imgIds=[image["id"]]))
        points, known = expected[image["file_name"]], np.isfinite(expected[image["file_name"]]).all(axis=1)
        values = np.array(one["keypoints"]).reshape(-1, 3)
        np.testing.assert_allclose(values[known, :2], points[known], atol=1e-5)
        assert (values[~known] == 0).all()
        assert one["num_keypoints"] == known.sum()
        assert 0 < one["area"] <= 60 * 40
    assert {image["file_name"] for image in read.loadImgs(read.getImgIds())} == set(NAMES)


def test_pycocotools_finds_a_perfect_answer_perfect(tmp_path, capsys):
    coco, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    convert(iugc_folder(tmp_path / "src"), tmp_path / "out", "coco")
    truth = coco.COCO(str(tmp_path / "out" / "annotations.json"))
    answers = [
        {"image_id": one["image_id"], "category_id": 1, "keypoints": one["keypoints"], "score": 1.0}
        for one in truth.dataset["annotations"]
    ]
    judged = evaluation.COCOeval(truth, truth.loadRes(answers), "keypoints")
    judged.params.kpt_oks_sigmas = np.full(3, 0.05)
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    assert judged.stats[0] == pytest.approx(1)


def test_label_studios_own_interface_takes_labels_and_proposals(tmp_path, source):
    sdk = pytest.importorskip(
        "label_studio_sdk.label_interface", reason="label-studio-sdk brings pandas, nltk and more: not asked for in CI"
    )
    convert(source, tmp_path / "out", "label-studio")
    interface = sdk.LabelInterface((tmp_path / "out" / "labeling.xml").read_text())
    assert sorted(next(iter(interface.labels))) == ["FH1", "PS1", "PS2"]
    for task in json.loads((tmp_path / "out" / "tasks.json").read_text(encoding="utf-8")):
        (annotation,) = task["annotations"]
        proposed = {"model_version": "x", "score": 0.5, "result": annotation["result"]}
        assert interface.validate_prediction(proposed, return_errors=True) == []
        assert interface.validate_annotation(annotation) is not False


def test_the_schema_kept_here_fits_what_is_written_for_cvat(tmp_path, source):
    schema = pytest.importorskip("xmlschema").XMLSchema(str(HERE / "cvat_1_1.xsd"))
    text = (source / "labels.csv").read_text(encoding="utf-8").splitlines()
    rows = [f"{line},{'reader' if i == 0 else 'anna'}" for i, line in enumerate(text)]
    (source / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    convert(source, tmp_path / "out", "cvat")
    schema.validate(str(tmp_path / "out" / "annotations.xml"))
    assert not schema.is_valid("<annotations><version>1.1</version></annotations>")
    (skeleton,) = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert [one["name"] for one in skeleton["sublabels"]] == ["PS1", "PS2", "FH1"]


def test_coco_goes_through_to_ultralytics(tmp_path):
    convert(iugc_folder(tmp_path / "src", 8), tmp_path / "coco", "coco")
    assert convert(tmp_path / "coco", tmp_path / "yolo", "yolo-pose").written == 8


CVAT_SAVED = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>7</id><name>t</name><size>2</size><mode>annotation</mode><owner><username>anna</username></owner>
    <labels><label><name>aop</name><type>skeleton</type></label></labels></task><dumped>2026-11-30</dumped></meta>
  <image id="0" name="a.png" width="60" height="40">
    <skeleton label="aop" source="manual" z_order="0">
      <points label="FH1" source="manual" outside="0" occluded="1" points="30.50,20.75">
      </points>
      <points label="PS1" source="manual" outside="0" occluded="0" points="30.5,10.5">
      </points>
      <points label="PS2" source="manual" outside="0" occluded="0" points="10.50,10.50">
      </points>
    </skeleton>
  </image>
  <image id="1" name="b.png" width="60" height="40">
    <points label="PS1" source="manual" occluded="0" points="30.5,10.5" z_order="0"></points>
    <points label="PS2" source="manual" occluded="0" points="10.5,10.5" z_order="0"></points>
    <points label="FH1" source="manual" occluded="0" points="30.5,20.5" z_order="0"></points>
  </image>
</annotations>
"""

LABELME_SAVED = {
    "version": "5.2.1", "flags": {}, "imagePath": "..\\\\pictures\\\\a.png", "imageData": None, "imageHeight": 40,
    "imageWidth": 60,
    "shapes": [
        {"label": "head", "points": [[1, 1], [9, 9]], "group_id": None, "shape_type": "rectangle", "flags": {}},
        *({"label": name, "points": [at], "group_id": None, "shape_type": "point", "flags": {}}
          for name, at in (("FH1", [30.5, 20.75]), ("PS2", [10.5, 10.5]), ("PS1", [30.5, 10.5]))),
    ],
}  # fmt: skip

SLICER_SAVED = {
    "@schema": "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#",
    "markups": [{
        "type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "locked": False, "labelFormat": "%N-%d",
        "controlPoints": [
            {"id": "2", "label": "PS2", "position": [10.0, 10.0, 0.0], "positionStatus": "defined"},
            {"id": "1", "label": "PS1", "position": [30.0, 10.0, 0.0], "positionStatus": "defined"},
            {"id": "3", "label": "FH1", "position": [30.0, 20.25, 0.0], "positionStatus": "defined"},
        ],
        "measurements": [], "display": {"visibility": True},
    }],
}  # fmt: skip


def test_files_as_the_tools_save_them(tmp_path):
    expected = [(30, 10), (10, 10), (30, 20.25)]
    for name in ("a.png", "b.png"):
        for folder in ("cvat", "slicer", "labelme/pictures", "napari"):
            save(tmp_path / folder / name, picture(ord(name[0])))
    (tmp_path / "cvat" / "annotations.xml").write_text(CVAT_SAVED)
    (tmp_path / "slicer" / "a.mrk.json").write_text(json.dumps(SLICER_SAVED))
    (tmp_path / "labelme" / "json").mkdir()
    (tmp_path / "labelme" / "json" / "a.json").write_text(json.dumps(LABELME_SAVED).replace("\\\\\\\\", "\\\\"))
    (tmp_path / "napari" / "a.png.csv").write_text(
        "index,axis-0,axis-1,label\n0.0,20.25,30.0,FH1\n1.0,10.0,10.0,PS2\n2.0,10.0,30.0,PS1\n"
    )
    for tool, name in (("cvat", "a.png"), ("slicer", "a.png"), ("labelme", "pictures/a.png"), ("napari", "a.png")):
        label = read_labels(tmp_path / tool)[0]
        assert label.name == name
        np.testing.assert_allclose(label.points, expected)
    second = read_labels(tmp_path / "cvat")[1]
    np.testing.assert_allclose(second.points, [(30, 10), (10, 10), (30, 20)])


def test_labelme_opens_what_is_written(tmp_path, source):
    labelme = pytest.importorskip(
        "labelme._label_file", reason="LabelMe brings Qt, which a machine without a screen need not have"
    )
    convert(source, tmp_path / "out", "labelme")
    opened = labelme.LabelFile(str(tmp_path / "out" / "images" / "a" / "ü 1.json"))
    assert [one["label"] for one in opened.shapes] == ["PS1", "PS2", "FH1"]
    assert opened.imagePath == "ü 1.png"


def test_napari_opens_what_is_written(tmp_path, source):
    builtins = pytest.importorskip(
        "napari_builtins.io", reason="napari brings Qt, OpenGL and dask: not asked for in CI"
    )
    convert(source, tmp_path / "out", "napari")
    ((points, _, kind),) = builtins.csv_to_layer_data(str(tmp_path / "out" / "points" / "01.png.csv"))
    assert kind == "points"
    np.testing.assert_allclose(points[:, ::-1], points_in(source)["01.png"][:2], atol=1e-5)
