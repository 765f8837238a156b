"""The landmarks of all 1058 real frames, from their masks and from their label files."""

import ast
import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from aop_pose import geometry

# Frames in which another choice of points would be equally right: of PS1 and PS2, of FH1.
SYMPHYSIS_TIES = """
03815 03921 03929 03948 03952 04147 04271 04333 04349 04414 04423 04424 04471 04495 04513 04559 04562
04655 04783 04839 04841
"""
TANGENT_TIES = """
03759 03769 03773 03786 03805 03808 03846 03925 03929 03945 03949 03963 03993 03994 04004 04005 04056
04131 04257 04264 04268 04342 04472 04487 04490 04554 04705 04758 04775 04821 04847 04864 04887 04953
04981 04985 04988 05008 05039 05072 05083
"""
# The label files round the angle to four decimals.
AOP_ROUNDING = 0.5e-4 + 1e-9


@pytest.fixture(scope="module")
def frames(shared_data: Path) -> list[tuple[str, np.ndarray, np.ndarray, float]]:
    """Name, mask, labelled points (3, 2) and labelled AoP of every frame."""
    folder = shared_data / "psfhs"
    rows = []
    for file in ("labelled.csv", "val.csv", "unlabelled_answers.csv"):
        with (folder / file).open(newline="") as stream:
            for row in csv.DictReader(stream):
                mask = cv2.imread(str(folder / "masks" / row["Filename"]), cv2.IMREAD_UNCHANGED)
                points = np.array([ast.literal_eval(row[name]) for name in ("PS1", "PS2", "FH1")], float)
                rows.append((Path(row["Filename"]).stem, mask, points, float(row["AoP"])))
    return rows


def farthest_pairs(outline: np.ndarray) -> set[frozenset]:
    squares = ((outline[:, None] - outline[None]) ** 2).sum(axis=-1)
    return {frozenset((tuple(outline[i]), tuple(outline[j]))) for i, j in np.argwhere(squares == squares.max())}


def farthest_turned(ps1: np.ndarray, ps2: np.ndarray, outline: np.ndarray) -> set[tuple]:
    """Points with the largest turn from left over down to right, which is through the head in every frame."""
    ray, rays = ps2 - ps1, outline - ps1
    turns = (np.arctan2(ray[1], ray[0]) - np.arctan2(rays[:, 1], rays[:, 0])) % (2 * np.pi)
    return {tuple(place) for place in outline[turns >= turns.max() - 1e-9]}


def test_points_from_masks_are_the_labelled_ones_except_for_ties(frames):
    assert len(frames) == 1058
    ties_seen: dict[str, set[str]] = {"symphysis": set(), "tangent": set()}
    for name, mask, (ps1, ps2, fh1), _ in frames:
        symphysis = geometry.largest_contour(mask == geometry.SYMPHYSIS)
        head = geometry.largest_contour(mask == geometry.FETAL_HEAD)
        (found1, found2, _), reason = geometry.landmarks_from_masks(mask)
        assert reason == "", name

        pairs = farthest_pairs(symphysis)
        assert frozenset((tuple(ps1), tuple(ps2))) in pairs, name
        assert frozenset((tuple(found1), tuple(found2))) in pairs, name
        assert ps1[0] > ps2[0], name
        assert found1[0] > found2[0], name
        if len(pairs) > 1:
            ties_seen["symphysis"].add(name)

        # From the labelled ends, so that a tie of the symphysis does not move the tangent.
        reached = farthest_turned(ps1, ps2, head)
        assert tuple(fh1) in reached, name
        assert tuple(geometry.tangent_point(ps1, ps2, head)) in reached, name
        if len(reached) > 1:
            ties_seen["tangent"].add(name)
    # So in a frame that is not listed there was one right answer, found and labelled.
    assert ties_seen == {"symphysis": set(SYMPHYSIS_TIES.split()), "tangent": set(TANGENT_TIES.split())}


def test_ties_are_broken_as_in_the_label_files(frames):
    # Both take what comes first along OpenCV's contour.
    moved = [name for name, mask, points, _ in frames if (geometry.landmarks_from_masks(mask)[0] != points).any()]
    assert moved == []


def test_angles_are_the_labelled_ones_within_rounding(frames):
    points = np.array([points for _, _, points, _ in frames])
    labelled = np.array([angle for *_, angle in frames])
    angles = geometry.angle_of_progression(points[:, 0], points[:, 1], points[:, 2])
    assert np.abs(angles - labelled).max() <= AOP_ROUNDING


def test_nine_frames_turn_beyond_180_degrees_and_fold_back(frames):
    beyond = 0
    for _, _, (ps1, ps2, fh1), angle in frames:
        ray, tangent = ps2 - ps1, fh1 - ps1
        turn = np.degrees(np.arctan2(ray[1], ray[0]) - np.arctan2(tangent[1], tangent[0])) % 360
        assert angle == pytest.approx(min(turn, 360 - turn), abs=1e-4)
        beyond += turn > 180
    assert beyond == 9
