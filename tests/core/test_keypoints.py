"""Keypoints and schemas: points have names, and a missing one is NaN."""

import math

import numpy as np
import pytest

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schema import SCHEMAS, of_frames, of_volumes
from aop_pose.core.schemas import AOP, FETAL_FACE, FETUS, HEAD


def test_points_are_found_by_name():
    keypoints = Keypoints(AOP, [(1, 2), (3, 4), (5, 6)], [0.5, 0.6, 0.7])
    assert keypoints["PS1"].tolist() == [1, 2]
    assert keypoints["FH1"].tolist() == [5, 6]
    assert keypoints.coords.dtype == np.float64


def test_an_unknown_name_names_the_known_ones():
    with pytest.raises(ValueError, match="schema aop has points PS1, PS2, FH1; found 'OFD1'"):
        Keypoints.from_points(AOP, np.zeros((3, 2)))["OFD1"]


def test_the_array_given_is_not_shared():
    coords = np.zeros((3, 2))
    keypoints = Keypoints.from_points(AOP, coords)
    coords[:] = 9
    assert keypoints.coords.max() == 0


def test_labels_have_no_scores():
    assert np.isnan(Keypoints.from_points(HEAD, np.zeros((4, 2))).scores).all()


def test_half_a_point_is_a_missing_one():
    assert Keypoints.from_points(AOP, np.zeros((3, 2))).complete
    assert not Keypoints.from_points(AOP, [(1, 2), (3, math.nan), (5, 6)]).complete


@pytest.mark.parametrize("coords", [np.zeros((4, 2)), np.zeros((3, 3)), np.zeros(6)])
def test_coords_of_another_shape_are_an_error(coords):
    with pytest.raises(ValueError, match=r"coords of schema aop: expected shape \(3, 2\), found"):
        Keypoints.from_points(AOP, coords)


def test_scores_of_another_shape_are_an_error():
    with pytest.raises(ValueError, match=r"scores of schema aop: expected shape \(3,\), found \(2,\)"):
        Keypoints(AOP, np.zeros((3, 2)), [0.1, 0.2])


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_a_schema_speaks_only_of_its_own_points(schema):
    assert SCHEMAS[schema.name] is schema
    assert len(set(schema.points)) == len(schema.points)
    for pair in (*schema.lines, *schema.interchangeable, *schema.symmetric):
        assert set(pair) <= set(schema.points)
    assert [schema.index(point) for point in schema.points] == list(range(len(schema.points)))


def test_points_beyond_the_outer_edges_are_named():
    keypoints = Keypoints.from_points(AOP, [(-0.5, 9.5), (10.6, 2), (np.nan, 3)])
    assert keypoints.outside(11, 10) == ["PS2"]
    assert keypoints.outside(12, 10) == []


def test_points_of_a_volume_have_three_coordinates():
    keypoints = Keypoints.from_points(FETAL_FACE, [(1, 2, 3), (4, 5, 6), (7, 8, 9)])
    assert keypoints["left_eye"].tolist() == [4, 5, 6]
    assert keypoints.outside(8, 9, 10) == []
    assert keypoints.outside(8, 9, 9) == ["right_eye"]
    with pytest.raises(ValueError, match=r"coords of schema fetal_face: expected shape \(3, 3\), found \(3, 2\)"):
        Keypoints.from_points(FETAL_FACE, np.zeros((3, 2)))


def test_pictures_and_volumes_share_the_schemas():
    assert list(of_frames()) == ["aop", "head"]
    assert list(of_volumes()) == ["fetus", "fetal_face"]
    assert AOP.coordinate_columns == ("PS1_x", "PS1_y", "PS2_x", "PS2_y", "FH1_x", "FH1_y")
    assert FETAL_FACE.coordinate_columns[:4] == ("brain_i", "brain_j", "brain_k", "left_eye_i")


def test_the_fetus_has_the_points_that_the_paper_names_where_it_names_them():
    """FetusMapV2, sections 3.2 and 3.3, whose points count from 1."""
    assert len(FETUS.points) == 22
    named = {1: "cranial_crest", 4: "nasal_bone", 6: "hind_neck", 11: "left_shoulder", 14: "right_shoulder"}
    assert {number: FETUS.points[number - 1] for number in named} == named
    groups = {name: tuple(FETUS.index(point) + 1 for point in points) for name, points in FETUS.groups}
    assert groups == {
        "head_and_trunk": tuple(range(1, 11)),
        "left_arm": (11, 12, 13),
        "right_arm": (14, 15, 16),
        "left_leg": (17, 18, 19),
        "right_leg": (20, 21, 22),
    }


@pytest.mark.parametrize("schema", of_volumes().values(), ids=of_volumes())
def test_the_two_sides_of_a_body_match_point_by_point(schema):
    """What the pair loss and the swap of sides take for granted."""
    pairs = [(left, right) for lefts, rights in schema.sides for left, right in zip(lefts, rights, strict=True)]
    assert [(schema.points[left], schema.points[right]) for left, right in pairs] == list(schema.symmetric)
    for left, right in schema.symmetric:
        assert right == left.replace("left", "right")
        assert left != right
    assert sorted([*schema.unpaired, *(index for pair in pairs for index in pair)]) == list(range(len(schema.points)))
    assert sorted(point for _, points in schema.groups for point in points) == sorted(schema.points)


@pytest.mark.parametrize("schema", of_volumes().values(), ids=of_volumes())
def test_a_skeleton_is_one_piece_and_the_same_on_both_sides(schema):
    joined = {schema.points[0]}
    for _ in schema.points:
        joined |= {point for line in schema.lines if joined & set(line) for point in line}
    assert joined == set(schema.points)
    other = {left: right for pair in schema.symmetric for left, right in (pair, pair[::-1])}
    mirrored = {frozenset(other.get(point, point) for point in line) for line in schema.lines}
    assert mirrored == {frozenset(line) for line in schema.lines}
