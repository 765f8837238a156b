"""Strokes of landmarks that can be worked out by hand, and of landmarks that give none."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from aop_pose.scribbles.strokes import NAMES, StrokeSettings, strokes_for

# A level symphysis of 80 pixels, and FH1 straight below PS1, so that the tangent is upright.
POINTS = np.array([(140.0, 40.0), (60.0, 40.0), (140.0, 140.0)])


def ends(points, width=256, height=256, **options):
    found = strokes_for(points, width, height, **options)
    assert not found.reason
    return {stroke.name: np.asarray(stroke.line.coords) for stroke in found.strokes}


def mirrored(points, width=256):
    return np.stack([width - 1 - points[..., 0], points[..., 1]], axis=-1)


def test_symphysis_by_hand():
    found = ends(POINTS)
    assert_allclose(found["ps_axis"], [(136.8, 40), (63.2, 40)])
    assert_allclose(found["ps_above"], [(120, 32), (80, 32)])
    assert_allclose(found["ps_below"], [(120, 48), (80, 48)])
    assert_allclose(found["ps_beyond_ps1"], [(144, 40), (255, 40)])
    assert_allclose(found["ps_beyond_ps2"], [(56, 40), (0, 40)])


def test_head_by_hand():
    found = ends(POINTS)
    # The level ray is square to the tangent: 0.03 to 1.4 symphysis lengths.
    assert_allclose(found["fh_level"], [(137.6, 140), (28, 140)])
    assert_allclose(found["fh_parallel"], found["fh_level"])
    # At 60 degrees to the tangent: 2.4 px below it, and 112 sin 60 px long.
    root = np.sqrt(3)
    assert_allclose(found["fh_down30"], [(137.6, 140 + 2.4 / root), (56, 140 + 84 / root)])
    assert_allclose(found["fh_up30"], [(137.6, 140 - 2.4 / root), (56, 140 - 84 / root)])
    assert_allclose(found["fh_tangent"], [(140, 40), (140, 125)])
    assert_allclose(found["fh_beyond_fh1"], [(140, 155), (140, 255)])
    assert_allclose(found["fh_beyond_ps1"], [(140, 40), (140, 0)])


def test_convexity_strokes_are_horizontal_or_parallel():
    tilted = np.array([(140.0, 40.0), (60.0, 100.0), (200.0, 200.0)])
    parallel = ends(tilted)["ps_above"]
    horizontal = ends(tilted, settings=StrokeSettings(convexity="horizontal"))["ps_above"]
    assert_allclose(parallel[1] - parallel[0], (-40, 30))
    assert_allclose(horizontal[1] - horizontal[0], (-50, 0), atol=1e-12)
    # Both about the point 10 px above the middle of the axis, square to it.
    assert_allclose(parallel.mean(axis=0), (94, 62))
    assert_allclose(horizontal.mean(axis=0), (94, 62))


def test_kinds_of_strokes():
    kinds = {stroke.name: (stroke.structure, stroke.positive) for stroke in strokes_for(POINTS, 256, 256).strokes}
    assert tuple(kinds) == NAMES
    assert [name for name, kind in kinds.items() if kind == ("PS", True)] == [
        "ps_axis",
        "ps_above",
        "ps_below",
    ]
    assert [name for name, kind in kinds.items() if kind == ("PS", False)] == [
        "ps_beyond_ps1",
        "ps_beyond_ps2",
    ]
    assert [name for name, kind in kinds.items() if kind == ("FH", False)] == [
        "fh_tangent", "fh_beyond_fh1", "fh_beyond_ps1",
    ]  # fmt: skip


def test_mirrored_frame_gets_mirrored_strokes():
    points = np.array([(138.0, 36.0), (58.0, 61.0), (200.0, 66.0)])
    straight, turned = ends(points), ends(mirrored(points))
    assert straight.keys() == turned.keys()
    for name, line in straight.items():
        assert_allclose(turned[name], mirrored(line), atol=1e-9)


def test_upright_symphysis_is_mirrored_where_the_head_is_on_its_left():
    points = np.array([(128.0, 30.0), (128.0, 100.0), (190.0, 140.0)])
    straight, turned = ends(points, width=257), ends(mirrored(points, 257), width=257)
    assert "fh_parallel" in straight
    for name, line in straight.items():
        assert_allclose(turned[name], mirrored(line, 257), atol=1e-9)


def test_wrong_side_of_the_tangent_is_left_out():
    # FH1 above PS1: only the lines at 30 degrees leave the tangent by 20 or more; one half of each is below it.
    found = strokes_for(np.array([(140.0, 100.0), (60.0, 110.0), (220.0, 95.0)]), 256, 256)
    inside = [stroke.name for stroke in found.strokes if stroke.structure == "FH" and stroke.positive]
    assert inside == ["fh_up30", "fh_down30"]
    ends_of = {stroke.name: np.asarray(stroke.line.coords) for stroke in found.strokes}
    assert_allclose(np.diff(ends_of["fh_up30"], axis=0)[0] @ (-0.5, np.sqrt(0.75)), 0, atol=1e-9)
    assert (ends_of["fh_up30"][:, 1] > 95).all()
    assert "wrong side" in found.left_out["fh_level"]


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([(140, 40), (60, np.nan), (140, 140)], "PS2 is missing"),
        ([(140, 40), (60, 40), (np.inf, 140)], "FH1 is missing"),
        ([(140, 40), (-1, 40), (140, 140)], "PS2 (-1, 40) is outside the frame of 256 x 256 pixels"),
        ([(140, 40), (60, 40), (140, 256)], "FH1 (140, 256) is outside the frame of 256 x 256 pixels"),
        ([(140, 40), (140, 40), (140, 140)], "PS1 and PS2 coincide"),
        ([(140, 40), (60, 40), (140, 40)], "FH1 lies on the symphysis, 0.0 px from the line PS1-PS2"),
        ([(140, 40), (60, 40), (100, 42)], "FH1 lies on the symphysis, 2.0 px from the line PS1-PS2"),
        (
            [(140, 100), (60, 100), (200, 20)],
            "FH1 stands above the symphysis: expected an angle of at most 220, found 233",
        ),
        (
            [(60, 100), (140, 100), (0, 20)],
            "FH1 stands above the symphysis: expected an angle of at most 220, found 233",
        ),
    ],
)
def test_degenerate_landmarks_have_a_reason(points, reason):
    found = strokes_for(np.array(points, float), 256, 256)
    assert (found.reason, found.strokes) == (reason, [])


def test_head_left_of_the_symphysis_has_strokes():
    # H is right of FH1, on the wrong side; the other halves of the lines at 10 and 30 degrees lead into the head.
    found = ends(np.array([(160.0, 35.0), (120.0, 25.0), (110.0, 125.0)]))
    assert "fh_level" not in found
    assert {"fh_up10", "fh_down10", "fh_down30", "fh_parallel"} <= found.keys()
    for name in ("fh_up10", "fh_down10", "fh_down30"):
        assert found[name][1, 0] < found[name][0, 0] < 110


def test_sector_cuts_strokes():
    sector = shapely.box(40, 10, 210, 150)
    found = strokes_for(POINTS, 256, 256, sector=sector)
    assert found.strokes
    assert all(sector.buffer(1e-9).covers(stroke.line) for stroke in found.strokes)
    assert_allclose({s.name: s for s in found.strokes}["fh_level"].line.coords[1], (40, 140))


def test_sector_that_misses_a_landmark_does_not_hide_its_strokes():
    # Found too narrow: PS2 and half of the symphysis would be lost.
    found = ends(POINTS, sector=shapely.box(100, 10, 210, 250))
    assert_allclose(found["ps_axis"], [(136.8, 40), (63.2, 40)])


def test_strokes_are_switched_off():
    found = strokes_for(POINTS, 256, 256, without=["ps_above", "fh_level"])
    assert found.left_out == {"ps_above": "switched off", "fh_level": "switched off"}
    assert {stroke.name for stroke in found.strokes} == set(NAMES) - {"ps_above", "fh_level"}


def test_every_stroke_of_the_head_switched_off_is_no_degenerate_frame():
    without = [name for name in NAMES if name.startswith("fh_")]
    found = strokes_for(POINTS, 256, 256, without=without)
    assert found.reason == ""
    assert {stroke.structure for stroke in found.strokes} == {"PS"}


def test_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"expected names out of ps_axis.*; found ps_axes"):
        strokes_for(POINTS, 256, 256, without=["ps_axes"])


@pytest.mark.parametrize(
    "setting",
    [
        {"convexity": "vertical"},
        {"ps_gap": -0.1},
        {"fh_reach": 0.0},
        {"least_angle": 91.0},
        {"least_angle": 5.0},
    ],
)
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        StrokeSettings(**setting)


@st.composite
def frames(draw):
    width, height = draw(st.integers(8, 700)), draw(st.integers(8, 700))
    points = [(draw(st.floats(-0.5, width - 0.5)), draw(st.floats(-0.5, height - 0.5))) for _ in range(3)]
    sector = None
    if draw(st.booleans()):
        corners = draw(st.lists(st.tuples(st.floats(0, width), st.floats(0, height)), min_size=3, max_size=8))
        hull = shapely.MultiPoint(corners).convex_hull
        sector = hull if hull.geom_type == "Polygon" else None
    return np.array(points), width, height, sector


@given(frames())
def test_no_stroke_leaves_the_frame(frame):
    points, width, height, sector = frame
    found = strokes_for(points, width, height, sector)
    for stroke in found.strokes:
        (left, top, right, bottom) = stroke.line.bounds
        assert left >= -1e-6
        assert top >= -1e-6
        assert right <= width - 1 + 1e-6
        assert bottom <= height - 1 + 1e-6
        assert len(stroke.line.coords) == 2
    drawn = [stroke.name for stroke in found.strokes]
    if found.reason:
        assert drawn == []
    else:
        assert sorted([*drawn, *found.left_out]) == sorted(NAMES)
