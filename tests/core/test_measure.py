"""Which numbers come out of which points, in which unit, and what is said where none do."""

import math

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.measure import measure, measure_volume
from aop_pose.core.results import Result
from aop_pose.core.schema import Schema
from aop_pose.core.schemas import AOP, FETAL_FACE, FETUS, HEAD
from aop_pose.core.schemas.fetus import midsagittal_plane

NAN = (math.nan, math.nan)
AOP_POINTS = [(0, 0), (-10, 0), (10, 10)]
HEAD_POINTS = [(0, 50), (120, 50), (60, 5), (60, 95)]
SQUARE_HEAD = [(0, 10), (0, 20), (10, 20), (10, 10)]


def values(measured) -> dict[str, float]:
    return {name: measurement.value for name, measurement in measured.measurements.items()}


def aop(points=AOP_POINTS, **known):
    return measure(Keypoints.from_points(AOP, points), **known)


def head(points=HEAD_POINTS, **known):
    return measure(Keypoints.from_points(HEAD, points), **known)


# ---- numbers


def test_an_angle_needs_no_spacing():
    measured = aop(produced_by="aop-fast")
    assert measured.reason == ""
    assert values(measured) == {"aop_deg": pytest.approx(135)}
    angle = measured.measurements["aop_deg"]
    assert (angle.name, angle.unit, angle.interval, angle.produced_by) == ("aop_deg", "deg", None, "aop-fast")


def test_the_angle_is_physical_where_spacing_is_known():
    # Rows 1 mm and columns 0.5 mm apart put FH1 at (5, 10) mm.
    expected = 180 - math.degrees(math.atan2(10, 5))
    assert values(aop(spacing=(1.0, 0.5))) == {"aop_deg": pytest.approx(expected)}
    assert values(aop(spacing=(0.3, 0.3))) == {"aop_deg": pytest.approx(135)}


def test_hsd_needs_a_head_outline_and_millimetres_need_spacing():
    assert values(aop(head_outline=SQUARE_HEAD))["hsd_px"] == 10
    assert "hsd_mm" not in values(aop(head_outline=SQUARE_HEAD))
    both = values(aop(head_outline=np.array(SQUARE_HEAD)[:, None], spacing=(0.2, 0.2)))
    assert both == {"aop_deg": pytest.approx(135), "hsd_px": 10, "hsd_mm": pytest.approx(2)}


def test_lengths_in_pixels_need_square_pixels():
    assert values(aop(head_outline=SQUARE_HEAD, spacing=(1.0, 0.5))).keys() == {"aop_deg", "hsd_mm"}
    measured = values(head(spacing=(1.0, 0.8)))
    assert measured.keys() == {"ofd_mm", "bpd_mm", "hc_mm", "hc_ramanujan_mm"}
    assert (measured["ofd_mm"], measured["bpd_mm"]) == (96, 90)


def test_a_head_in_pixels_and_in_millimetres():
    pixels = {"ofd_px": 120, "bpd_px": 90, "hc_px": pytest.approx(105 * math.pi)}
    assert values(head()) == pixels
    t = np.linspace(0, 2 * math.pi, 2000, endpoint=False)
    perimeter = np.hypot(60 * np.sin(t), 45 * np.cos(t)).mean() * 2 * math.pi
    assert values(head(spacing=(0.5, 0.5))) == {
        **pixels,
        "ofd_mm": 60,
        "bpd_mm": 45,
        "hc_mm": pytest.approx(52.5 * math.pi),
        "hc_ramanujan_mm": pytest.approx(perimeter / 2, rel=1e-9),
    }


def test_every_measurement_is_a_column_of_its_schema_with_its_unit():
    for measured, schema in (
        (aop(head_outline=SQUARE_HEAD, spacing=(0.2, 0.2)), AOP),
        (head(spacing=(0.2, 0.2)), HEAD),
    ):
        for name, measurement in measured.measurements.items():
            assert name == measurement.name
            assert name in schema.measurement_columns
            assert name.endswith(f"_{measurement.unit}")


def test_one_missing_axis_leaves_the_other():
    assert values(head([*HEAD_POINTS[:2], (60, 5), NAN])) == {"ofd_px": 120}


def test_hsd_stands_without_the_tangent_point():
    assert values(aop([(0, 0), NAN, NAN], head_outline=SQUARE_HEAD)) == {"hsd_px": 10}


def test_no_hsd_from_inside_the_head_or_from_an_empty_outline():
    assert values(aop([(5, 15), (-10, 0), (10, 10)], head_outline=SQUARE_HEAD)).keys() == {"aop_deg"}
    assert values(aop(head_outline=[])).keys() == {"aop_deg"}


# ---- reasons


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([(0, 0), (-10, 0), NAN], "missing point: FH1"),
        ([(math.nan, 3), (-10, 0), NAN], "missing points: PS1, FH1"),
        ([(math.inf, 3), (-10, 0), (1, 1)], "missing point: PS1"),
        ([(4, 4), (4, 4), (10, 10)], "points in one place: PS1 and PS2"),
        ([(4, 4), (4, 4), (4, 4)], "points in one place: PS1 and PS2; PS1 and FH1"),
        (
            [(0, 0), (1e300, 0), (0, 1e300)],
            "the coordinates are too large or too close together to be measured",
        ),
    ],
)
def test_no_angle_has_a_reason(points, reason):
    measured = aop(points)
    assert measured.measurements == {}
    assert measured.reason == reason


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([NAN] * 4, "missing points: OFD1, OFD2, BPD1, BPD2"),
        ([(1, 1), (1, 1), (2, 2), (2, 2)], "points in one place: OFD1 and OFD2; BPD1 and BPD2"),
    ],
)
def test_no_head_has_a_reason(points, reason):
    measured = head(points, spacing=(0.2, 0.2))
    assert measured.measurements == {}
    assert measured.reason == reason


def test_four_points_that_are_not_one_head_have_a_reason():
    # In pixels BPD is 90 of 120; on pixels half as wide as tall it is the longer one.
    measured = head(spacing=(1.0, 0.5))
    assert (measured.measurements, measured.reason) == (
        {},
        "not the axes of one head: BPD is longer than OFD (1.500 times)",
    )
    assert head(HEAD_POINTS[2:] + HEAD_POINTS[:2]).reason.startswith("not the axes of one head: BPD is longer")


@pytest.mark.parametrize("aspect", [0.9, 1.02, 1.2, 0.0, math.nan, math.inf])
def test_pixels_known_not_to_be_square_are_refused(aspect):
    for measured in (aop(aspect=aspect, head_outline=SQUARE_HEAD), head(aspect=aspect)):
        assert measured.measurements == {}
        assert measured.reason.startswith(f"pixels are {aspect:.3f} times as tall as wide and no spacing")


def test_nearly_square_pixels_and_corrected_ones_are_measured():
    assert values(aop(aspect=1.009)).keys() == {"aop_deg"}
    assert values(aop(aspect=2.0, spacing=(1.0, 0.5))) == values(aop(spacing=(1.0, 0.5)))


def test_spacing_that_contradicts_the_file_is_refused():
    measured = aop(aspect=1.2, spacing=(0.1, 0.1))
    assert measured.measurements == {}
    assert measured.reason == ("spacing 0.1 x 0.1 mm makes pixels 1.000 times as tall as wide, but the file says 1.200")


def test_a_schema_without_formulas_says_so():
    stick = Schema("stick", points=("A", "B"), lines=(("A", "B"),))
    measured = measure(Keypoints.from_points(stick, [(0, 0), (1, 1)]))
    assert measured.measurements == {}
    assert measured.reason == "no measurement in a picture is defined on the points of schema stick"


@pytest.mark.parametrize("spacing", [(0.1,), (0.1, 0.1, 0.1), (0.0, 0.1), (-0.1, 0.1), (math.nan, 0.1)])
def test_spacing_that_is_none_is_an_error(spacing):
    with pytest.raises(ValueError, match=r"expected \(row, column\) millimetres per pixel"):
        aop(spacing=spacing)


# ---- promises for whatever points come

any_number = st.floats(allow_nan=True, allow_infinity=True)
any_coordinate = st.one_of(any_number, st.integers(0, 3).map(float))


@given(
    data=st.data(),
    schema=st.sampled_from([AOP, HEAD]),
    spacing=st.none() | st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)),
    aspect=st.none() | any_number,
    outline=st.none() | st.lists(st.tuples(any_coordinate, any_coordinate), max_size=6),
)
@settings(deadline=None, derandomize=True, database=None, max_examples=300)
def test_every_value_is_finite_and_silence_means_measured(data, schema, spacing, aspect, outline):
    pair = st.tuples(any_coordinate, any_coordinate)
    coords = data.draw(st.lists(pair, min_size=len(schema.points), max_size=len(schema.points)))
    keypoints = Keypoints.from_points(schema, coords)
    measured = measure(keypoints, spacing, aspect, outline)
    assert all(math.isfinite(value) for value in values(measured).values())
    assert bool(measured.reason) == (not measured.measurements)
    assert "\n" not in measured.reason
    # Whatever came out makes a valid row.
    Result(
        source="a.png",
        index=0,
        status="ok" if measured.measurements else "abstained",
        reason=measured.reason,
        measurements=measured.measurements,
    )


def test_measured_is_frozen():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        aop().reason = "other"


# ---- volumes

# i runs to the front, j to the left and k up, 0.5, 2 and 3 mm a voxel.
AFFINE = np.array([[0, -2, 0, 7], [0.5, 0, 0, -8], [0, 0, 3, 9], [0, 0, 0, 1]])
# A fetus of 3-4-5 triangles, in voxels: 3 mm = 6 i or 1 k, 4 mm = 8 i or 2 j.
FETUS_POINTS = {
    "cranial_crest": (0, 0, 20),
    "nasal_bone": (10, 0, 18),
    "hind_neck": (-10, 0, 15),
    "rump": (0, 0, 0),
    "left_shoulder": (0, 2, 14),
    "left_elbow": (0, 4, 13),
    "right_shoulder": (0, -2, 14),
    "right_elbow": (24, -10, 14),
    "left_hip": (0, 2, 2),
    "left_knee": (8, 2, 1),
    "right_hip": (0, -2, 2),
}


def fetus(**changes):
    places = FETUS_POINTS | changes
    return Keypoints.from_points(FETUS, [places.get(point, (math.nan,) * 3) for point in FETUS.points])


def test_lengths_in_a_volume_are_millimetres_along_its_own_axes():
    measured = measure_volume(fetus(right_knee=(0, -3, 2)), AFFINE, produced_by="fetus.onnx")
    assert values(measured) == pytest.approx(
        {
            "crl_mm": 60,
            "humerus_left_mm": 5,
            "humerus_right_mm": 20,
            "femur_left_mm": 5,
            "femur_right_mm": 2,
        }
    )
    assert list(measured.measurements) == list(FETUS.measurement_columns)
    assert measured.measurements["crl_mm"].unit == "mm"
    assert measured.measurements["crl_mm"].produced_by == "fetus.onnx"


def test_a_length_without_an_end_is_left_out():
    measured = measure_volume(fetus(rump=(math.nan, 0, 0)), AFFINE)
    assert list(measured.measurements) == ["humerus_left_mm", "humerus_right_mm", "femur_left_mm"]
    assert measured.reason == ""
    # Two ends in one place are no bone of length 0.
    assert "femur_left_mm" not in measure_volume(fetus(left_knee=(0, 2, 2)), AFFINE).measurements


def test_the_eyes_have_one_distance():
    keypoints = Keypoints.from_points(FETAL_FACE, [(0, 0, 0), (1, 2, 3), (7, 4, 3)])
    assert values(measure_volume(keypoints, AFFINE))["eye_distance_mm"] == pytest.approx(5)
    missing = measure_volume(Keypoints.from_points(FETAL_FACE, [(0, 0, 0), (1, 2, 3), (math.nan, 4, 3)]), AFFINE)
    assert missing.measurements == {}
    assert missing.reason == "missing point: right_eye"


def test_a_head_that_looks_to_the_front_says_so():
    """Eyes 40 mm apart along x, 30 mm before the brain along y and 10 mm below it along z."""
    face = Keypoints.from_points(FETAL_FACE, [(0, 0, 0), (-20, 30, -10), (20, 30, -10)])
    down = math.degrees(math.atan2(10, 30))
    found = values(measure_volume(face, np.eye(4)))
    assert found == pytest.approx(
        {
            "eye_distance_mm": 40, "look_right_deg": 90, "look_front_deg": down, "look_head_deg": 90 + down,
            "eyes_right_deg": 0, "eyes_front_deg": 90, "eyes_head_deg": 90,
        }
    )  # fmt: skip
    other = Keypoints.from_points(FETAL_FACE, [(0, 0, 0), (20, 30, -10), (-20, 30, -10)])
    assert values(measure_volume(other, np.eye(4))) == pytest.approx(found)
    on_a_line = Keypoints.from_points(FETAL_FACE, [(0, 0, 0), (10, 0, 0), (50, 0, 0)])
    assert set(values(measure_volume(on_a_line, np.eye(4)))) == {
        "eye_distance_mm", "eyes_right_deg", "eyes_front_deg", "eyes_head_deg",
    }  # fmt: skip


def test_a_picture_has_no_lengths_in_a_volume():
    measured = measure_volume(Keypoints.from_points(AOP, AOP_POINTS), AFFINE)
    assert (measured.measurements, measured.reason) == (
        {},
        "no measurement in a volume is defined on the points of schema aop",
    )


@pytest.mark.parametrize("far", [1e300, 1e308])
def test_points_too_far_away_are_left_out_in_silence(far):
    measured = measure_volume(fetus(rump=(far, -far, far)), AFFINE)
    assert all(math.isfinite(value) for value in values(measured).values())


def test_the_midsagittal_plane_parts_left_from_right():
    points = fetus().coords @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    plane = midsagittal_plane(points)
    assert np.abs(plane.normal) == pytest.approx([1, 0, 0])
    sides = plane.distance(points[[FETUS.index("left_shoulder"), FETUS.index("right_shoulder")]])
    assert np.abs(sides) == pytest.approx([4, 4])
    assert sides[0] * sides[1] < 0
