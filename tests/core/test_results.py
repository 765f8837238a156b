"""Rows: what a status demands, and how a row is written."""

import math

import attrs
import pytest

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.region import Region
from aop_pose.core.results import STATUSES, Measurement, Result, as_row, columns
from aop_pose.core.schemas import AOP, FETAL_FACE, FETUS, HEAD

ANGLE = {"aop_deg": Measurement("aop_deg", 123.456789, "deg")}


def test_columns_are_those_of_the_interface():
    assert ",".join(columns(AOP)) == (
        "source,index,width,height,status,reason,PS1_x,PS1_y,PS2_x,PS2_y,FH1_x,FH1_y,score,"
        "aop_deg,aop_low,aop_high,hsd_px,hsd_mm,model,"
        "region_x,region_y,region_w,region_h,mirrored,hsd_px_low,hsd_px_high,hsd_mm_low,hsd_mm_high,"
        "spacing_x_mm,spacing_y_mm,time_s,sop"
    )
    assert ",".join(columns(HEAD)) == (
        "source,index,width,height,status,reason,OFD1_x,OFD1_y,OFD2_x,OFD2_y,BPD1_x,BPD1_y,BPD2_x,BPD2_y,score,"
        "ofd_px,bpd_px,hc_px,ofd_mm,bpd_mm,hc_mm,hc_ramanujan_mm,model,"
        "ofd_px_low,ofd_px_high,bpd_px_low,bpd_px_high,hc_px_low,hc_px_high,"
        "ofd_mm_low,ofd_mm_high,bpd_mm_low,bpd_mm_high,hc_mm_low,hc_mm_high,"
        "region_x,region_y,region_w,region_h,spacing_x_mm,spacing_y_mm,time_s,sop"
    )
    assert ",".join(columns(FETAL_FACE)) == (
        "source,index,status,reason,brain_i,brain_j,brain_k,left_eye_i,left_eye_j,left_eye_k,"
        "right_eye_i,right_eye_j,right_eye_k,score,eye_distance_mm,look_right_deg,look_front_deg,look_head_deg,"
        "eyes_right_deg,eyes_front_deg,eyes_head_deg,model,eye_distance_low,eye_distance_high"
    )
    assert columns(FETUS)[-8:] == [
        "right_ankle_k", "score", "crl_mm", "humerus_left_mm", "humerus_right_mm", "femur_left_mm", "femur_right_mm",
        "model",
    ]  # fmt: skip


def test_a_row_of_a_volume_has_indices_and_no_size():
    result = Result(
        source="a.nii.gz",
        index=2,
        status="ok",
        keypoints=Keypoints.from_points(FETAL_FACE, [(1, 2, 3), (math.nan, math.nan, math.nan), (7, 8.25, 9)]),
        measurements={"eye_distance_mm": Measurement("eye_distance_mm", 21.5, "mm")},
    )
    assert as_row(result, FETAL_FACE) == {
        **dict.fromkeys(columns(FETAL_FACE), ""),
        **{"source": "a.nii.gz", "index": "2", "status": "ok", "eye_distance_mm": "21.5000"},
        **{"brain_i": "1.0000", "brain_j": "2.0000", "brain_k": "3.0000"},
        **{"right_eye_i": "7.0000", "right_eye_j": "8.2500", "right_eye_k": "9.0000"},
    }


def test_a_measured_row():
    result = Result(
        source="a/b.png",
        index=0,
        status="ok",
        width=256,
        height=200,
        keypoints=Keypoints.from_points(AOP, [(1, 2), (3.00004, 4), (5, 6.12345)]),
        score=0.5,
        measurements=ANGLE,
        model="aop-fast",
    )
    row = as_row(result, AOP)
    assert list(row) == columns(AOP)
    assert row == {
        **dict.fromkeys(columns(AOP), ""),
        **{"source": "a/b.png", "index": "0", "width": "256", "height": "200", "status": "ok"},
        **{"PS1_x": "1.0000", "PS1_y": "2.0000", "PS2_x": "3.0000", "PS2_y": "4.0000"},
        **{"FH1_x": "5.0000", "FH1_y": "6.1235", "score": "0.5000"},
        **{"aop_deg": "123.4568", "model": "aop-fast"},
    }


def test_an_interval_fills_its_two_columns():
    interval = {"aop_deg": Measurement("aop_deg", 120.0, "deg", interval=(110.5, 131.25))}
    row = as_row(Result(source="a.png", index=0, status="ok", measurements=interval), AOP)
    assert (row["aop_deg"], row["aop_low"], row["aop_high"]) == ("120.0000", "110.5000", "131.2500")


def test_where_a_row_comes_from_stands_at_its_end():
    result = Result(
        source="a.dcm", index=2, status="abstained", reason="mirrored", region=Region(3, 0, 200, 100), mirrored=True,
        spacing=(0.2, 0.2622917), time_s=0.04, sop="1.2.840.1",
    )  # fmt: skip
    row = as_row(result, AOP)
    assert [row[column] for column in AOP.further] == [
        "3", "0", "200", "100", "1", "", "", "", "", "0.262292", "0.2", "0.0400", "1.2.840.1",
    ]  # fmt: skip
    assert as_row(attrs.evolve(result, mirrored=False), AOP)["mirrored"] == "0"


def test_what_does_not_exist_is_empty_and_never_0():
    missing_point = Keypoints.from_points(AOP, [(0, 0), (math.nan, math.nan), (5, 6)])
    row = as_row(Result(source="a.png", index=3, status="abstained", reason="missing", keypoints=missing_point), AOP)
    assert (row["PS1_x"], row["PS1_y"]) == ("0.0000", "0.0000")
    assert (row["PS2_x"], row["PS2_y"], row["score"], row["aop_deg"], row["width"]) == ("", "", "", "", "")


def test_a_reason_stays_on_one_line():
    row = as_row(Result(source="a.png", index=0, status="unreadable", reason="not a\nPNG\r\nat all"), AOP)
    assert row["reason"] == "not a PNG at all"


def test_ok_needs_a_measurement():
    with pytest.raises(ValueError, match=r"a\.png: status ok needs a measurement"):
        Result(source="a.png", index=0, status="ok")


@pytest.mark.parametrize("status", ["abstained", "unreadable"])
def test_not_measured_needs_a_reason_and_no_measurement(status):
    with pytest.raises(ValueError, match="needs a reason and no measurement"):
        Result(source="a.png", index=0, status=status)
    with pytest.raises(ValueError, match="needs a reason and no measurement"):
        Result(source="a.png", index=0, status=status, reason="why", measurements=ANGLE)


def test_there_is_no_other_status():
    assert STATUSES == ("ok", "abstained", "unreadable")
    with pytest.raises(ValueError, match="status"):
        Result(source="a.png", index=0, status="good", reason="why")
