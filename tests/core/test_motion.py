"""Movement over a sequence, by hand."""

import numpy as np
import pytest

from aop_pose.core.motion import motion, motion_rows
from aop_pose.core.schemas import FETAL_FACE
from aop_pose.errors import UsageError

POINTS = ("still", "moving")


def tracks(*places):
    return np.array([[[0.0, 0, 0], place] for place in places], float)


def test_path_and_speed_by_hand():
    found = motion(tracks([0, 0, 0], [3, 4, 0], [3, 4, 12]), [0, 1, 2], POINTS)
    assert np.isnan(found.speeds[0]).all()
    assert found.speeds[1:].tolist() == [[0, 5], [0, 12]]
    assert found.paths.tolist() == [0, 17]
    assert found.mean_speeds.tolist() == [0, 8.5]
    assert found.rows("a.nii")[2] == {
        "source": "a.nii", "index": 2, "still_mm_per_frame": 0, "moving_mm_per_frame": 12,
    }  # fmt: skip


def test_frames_in_any_order_and_with_gaps():
    found = motion(tracks([3, 4, 12], [0, 0, 0], [3, 4, 0]), [9, 0, 5], POINTS)
    assert found.indices.tolist() == [0, 5, 9]
    assert found.speeds[1:, 1].tolist() == [1, 3]
    assert (found.paths[1], found.mean_speeds[1]) == (17, pytest.approx(17 / 9))


def test_a_missing_point_leaves_out_the_two_steps_at_it():
    found = motion(tracks([0, 0, 0], [np.nan] * 3, [9, 0, 0], [9, 2, 0]), [0, 1, 2, 3], POINTS)
    assert np.isnan(found.speeds[1:3, 1]).all()
    assert (found.paths[1], found.known_steps.tolist(), found.mean_speeds[1]) == (2, [3, 1], 2)


def test_no_known_step_has_no_path():
    found = motion(tracks([0, 0, 0], [np.nan] * 3), [0, 1], POINTS)
    assert np.isnan(found.paths[1])
    assert np.isnan(found.mean_speeds[1])
    assert np.isnan(motion(tracks([0, 0, 0]), [4], POINTS).paths).all()


def test_the_path_is_no_shorter_than_the_way():
    places = np.random.default_rng(0).normal(size=(20, 3)).cumsum(axis=0)
    found = motion(tracks(*places), range(20), POINTS)
    assert found.paths[1] >= np.linalg.norm(places[-1] - places[0])


def test_an_index_twice_is_refused():
    with pytest.raises(UsageError, match="expected each index once, found 1 twice"):
        motion(tracks([0, 0, 0], [1, 0, 0], [2, 0, 0]), [0, 1, 1], POINTS)


def row(source, index, brain, status="ok"):
    cells = [*brain, 0, 0, 0, 1, 0, 0]
    points = dict(zip(FETAL_FACE.coordinate_columns, map(str, cells), strict=True))
    return {"source": source, "index": str(index), "status": status, **points}


def test_a_table_gives_the_speeds_of_its_sequences_alone():
    """Two voxels along k of 3 mm; a still beside it has no motion, and its spacing is never asked for."""
    rows = [row("still.nii", 0, (0, 0, 0)), row("a.nii", 0, (0, 0, 0)), row("a.nii", 1, (0, 0, 2))]
    found = motion_rows(rows, FETAL_FACE, {"a.nii": np.diag([1.0, 2, 3, 1])}.__getitem__)
    assert [(one["source"], one["index"]) for one in found] == [("a.nii", 0), ("a.nii", 1)]
    assert (found[1]["brain_mm_per_frame"], found[1]["left_eye_mm_per_frame"]) == (6, 0)
    assert motion_rows(rows[:2], FETAL_FACE, {}.__getitem__) == []


def test_a_row_that_abstained_has_no_points_to_move():
    rows = [row("a.nii", i, (0, 0, i), status) for i, status in enumerate(("ok", "abstained", "ok", "ok"))]
    found = motion_rows(rows, FETAL_FACE, lambda source: np.eye(4))
    speeds = [one["brain_mm_per_frame"] for one in found]
    assert np.isnan(speeds[:3]).all()
    assert speeds[3] == 1
