"""The network looks at the region alone, and everything comes back in pixels of the frame as it was given."""

import csv
import json

import attrs
import cv2
import numpy as np
import pytest
from PIL import Image

from aop_pose.cli.main import run
from aop_pose.core.frame import Frame
from aop_pose.core.region import Region
from aop_pose.errors import UsageError
from aop_pose.measuring.folder import predict
from aop_pose.measuring.measurer import Measurer, measure_array
from tests.fakes import POINTS, fake_predictor, textured
from tests.trust.test_intervals import calibration


def screen():
    """A picture of 256 x 256 at 40, 30 of a larger frame."""
    pixels = np.full((400, 500), 90, np.uint8)
    pixels[30:286, 40:296] = textured(0)
    return pixels


def test_points_and_widths_of_a_region_are_those_of_the_bare_frame():
    bare_model = fake_predictor()
    model = attrs.evolve(bare_model, contract=bare_model.contract.model_copy(update={"calibration": calibration()}))
    bare = measure_array(model, textured(0), spacing=(0.5, 0.25), region="whole")
    inside = measure_array(model, screen(), spacing=(0.5, 0.25), region="40,30,256,256")
    assert (inside.status, bare.status) == ("ok", "ok")
    assert np.allclose(inside.keypoints.coords, bare.keypoints.coords + np.array([40, 30]))
    assert {name: (one.value, one.interval) for name, one in inside.measurements.items()} == {
        name: (one.value, one.interval) for name, one in bare.measurements.items()
    }
    assert (inside.region, bare.region) == (Region(40, 30, 256, 256), Region(0, 0, 256, 256, "whole"))


def test_a_point_outside_the_region_is_not_measured_though_the_frame_has_pixels_there():
    # Below the 100 rows the network sees black, and its point FH1 is in row 120.
    result = measure_array(fake_predictor(), np.pad(textured(0), 200), region="200,200,256,100")
    assert result.reason == "outside the region: FH1; what cannot be seen is not measured"
    assert result.keypoints["FH1"].tolist() == [370, 320]


def test_the_region_of_a_file_is_used_unless_another_is_typed():
    frame = Frame(screen(), region=Region(40, 30, 256, 256, "file"))
    assert Measurer(fake_predictor()).results([frame])[0].region.how == "file"
    assert Measurer(fake_predictor(), region="whole").results([frame])[0].region == Region(0, 0, 500, 400, "whole")
    assert Measurer(fake_predictor(), region="0,0,400,400").results([frame])[0].region.how == "given"


def test_a_region_that_is_too_small_or_blank_is_refused_by_itself():
    for numbers, word in (("0,0,31,200", "too small"), ("300,300,100,90", "blank"), ("40,30,256,32", "")):
        result = measure_array(fake_predictor(), screen(), region=numbers)
        assert word in result.reason


def test_frames_that_do_not_hold_the_region_abstain_and_the_others_are_measured(tmp_path):
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in/large.png"), screen())
    cv2.imwrite(str(tmp_path / "in/small.png"), textured(0))
    predict(fake_predictor(), tmp_path / "in", tmp_path / "out", region="40,30,256,256")
    with open(tmp_path / "out/results.csv", encoding="utf-8") as stream:
        large, small = csv.DictReader(stream)
    assert large["status"] == "ok"
    assert [large[f"region_{name}"] for name in "xywh"] == ["40", "30", "256", "256"]
    assert float(large["PS1_x"]) == POINTS[0, 0] + 40
    assert small["status"] == "abstained"
    assert "does not lie inside the frame of 256 x 256 pixels" in small["reason"]
    assert small["region_x"] == ""
    document = json.loads((tmp_path / "out/results.json").read_text())
    assert (document["run"]["region"], document["results"][0]["region_w"]) == ("40,30,256,256", 256)


def test_a_region_inside_no_frame_writes_nothing(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), textured(0))
    with pytest.raises(UsageError, match="lies inside no frame"):
        predict(fake_predictor(), tmp_path / "a.png", tmp_path / "out", region="200,200,100,100")
    assert not (tmp_path / "out").exists()
    for region, words in (("9,9,900,9", "lies inside no frame"), ("fan", "expected auto, whole or X,Y,W,H")):
        assert run(["predict", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--region", region]) == 2
        assert words in capsys.readouterr().err


def two_up(first_row=200):
    pixels = np.zeros((300, 640), np.uint8)
    pixels[20:276, 20:276], pixels[20:276, 350:606] = textured(1, first_row=first_row), textured(2)
    return pixels


def test_of_two_images_on_a_screen_the_one_that_holds_the_anatomy_is_measured():
    """The fake network finds nothing where the first row is dark."""
    result = measure_array(fake_predictor(), two_up(first_row=10))
    assert (result.status, result.region.how) == ("ok", "found")
    assert np.abs(np.subtract(result.region.box, (350, 20, 256, 256))).max() <= 3
    assert result.reason == f"two images: the one at {result.region} is measured"


def test_of_two_images_that_could_both_be_it_none_is_measured_until_one_is_named():
    result = measure_array(fake_predictor(), two_up())
    assert (result.status, result.keypoints, result.region) == ("abstained", None, None)
    assert result.reason.startswith("two images, give --region: ")
    assert measure_array(fake_predictor(), two_up(), region="350,20,256,256").status == "ok"


def test_a_picture_without_ultrasound_says_what_to_do():
    page = np.full((300, 400), 250, np.uint8)
    cv2.putText(page, "Report of 3 March", (20, 80), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 0, 2)
    result = measure_array(fake_predictor(), page)
    assert result.status == "abstained"
    assert result.reason == "no ultrasound picture is found in the frame: give --region X,Y,W,H, or --region whole"
    assert measure_array(fake_predictor(), page, region="whole").reason != result.reason


def test_a_run_is_not_continued_with_another_region(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), screen())
    predict(fake_predictor(), tmp_path / "a.png", tmp_path / "out")
    begun = json.loads((tmp_path / "out/results.json").read_text())["run"]
    (tmp_path / "out/results.json").unlink()
    (tmp_path / "out/.started.json").write_text(json.dumps(begun))
    with pytest.raises(UsageError, match="region was auto"):
        predict(fake_predictor(), tmp_path / "a.png", tmp_path / "out", region="whole")
    assert predict(fake_predictor(), tmp_path / "a.png", tmp_path / "out").counts == {"ok": 1}


def test_each_frame_of_a_screen_recording_has_its_own_region(tmp_path):
    """An animated GIF whose window moves, and that ends on a page without ultrasound."""
    pages = [np.zeros((400, 500), np.uint8) for _ in range(3)]
    for page, (left, top) in zip(pages, ((40, 30), (200, 30)), strict=False):
        page[top : top + 256, left : left + 256] = textured(0)
    cv2.putText(pages[2], "End of the recording", (20, 200), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 2)
    first, *rest = [Image.fromarray(page) for page in pages]
    first.save(tmp_path / "screen.gif", save_all=True, append_images=rest)
    predict(fake_predictor(), tmp_path / "screen.gif", tmp_path / "out")
    with open(tmp_path / "out/results.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["status"] for row in rows] == ["ok", "ok", "abstained"]
    boxes = np.array([[int(row[f"region_{name}"]) for name in "xywh"] for row in rows[:2]])
    assert np.abs(boxes - [(40, 30, 256, 256), (200, 30, 256, 256)]).max() <= 4
    assert rows[2]["reason"].startswith("no ultrasound picture is found in the frame")
    assert rows[2]["region_x"] == ""


def test_a_thumbnail_of_a_screen_is_measured_where_its_picture_is_large_enough():
    model = fake_predictor()
    page = np.zeros((210, 300), np.uint8)
    page[10:202, 60:252] = cv2.resize(textured(0), (192, 192), interpolation=cv2.INTER_AREA)
    assert np.abs(np.subtract(measure_array(model, page).region.box, (60, 10, 192, 192))).max() <= 4
    tiny = measure_array(model, page, region="60,10,30,30")
    assert (tiny.status, "too small" in tiny.reason) == ("abstained", True)
