"""Keypoints and schemas: points have names, and a missing one is NaN."""

import math

import numpy as np
import pytest

from aop_pose.keypoints import Keypoints
from aop_pose.schemas import AOP, HEAD, SCHEMAS


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
    for pair in (*schema.lines, *schema.interchangeable):
        assert set(pair) <= set(schema.points)
    assert [schema.index(point) for point in schema.points] == list(range(len(schema.points)))


def test_points_beyond_the_outer_edges_are_named():
    keypoints = Keypoints.from_points(AOP, [(-0.5, 9.5), (10.6, 2), (np.nan, 3)])
    assert keypoints.outside(11, 10) == ["PS2"]
    assert keypoints.outside(12, 10) == []
