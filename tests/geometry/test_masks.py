"""Contours and landmarks of drawn masks."""

import numpy as np
import pytest

from aop_pose import geometry


def test_largest_contour_is_the_outer_border_of_the_largest_region():
    structure = np.zeros((12, 14), int)
    structure[1:3, 1:3] = 7
    structure[5:10, 4:12] = 7
    structure[6:9, 6:8] = 0
    outline = geometry.largest_contour(structure)
    border = {(x, y) for x in range(4, 12) for y in range(5, 10) if x in (4, 11) or y in (5, 9)}
    assert {tuple(p) for p in outline} == border
    assert outline.shape == (len(border), 2)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (5, 7)])
def test_empty_mask_has_an_empty_contour(shape):
    assert geometry.largest_contour(np.zeros(shape, bool)).shape == (0, 2)


def test_landmarks_of_a_drawn_mask():
    mask = np.zeros((60, 80), np.uint8)
    mask[10:13, 20:41] = 1
    mask[30:51, 30:61] = 2
    coords, reason = geometry.landmarks_from_masks(mask)
    assert reason == ""
    # The diagonals of the bar tie; OpenCV starts at the upper left corner, so the one through it is first.
    assert coords.tolist() == [[40, 12], [20, 10], [60, 30]]


def masked(*regions: tuple[int, slice, slice]) -> np.ndarray:
    mask = np.zeros((40, 40), np.uint8)
    for value, rows, columns in regions:
        mask[rows, columns] = value
    return mask


BAR = (1, slice(5, 8), slice(5, 20))
HEAD = (2, slice(20, 30), slice(10, 30))


@pytest.mark.parametrize(
    ("mask", "missing", "words"),
    [
        (masked(), [True, True, True], "no pubic symphysis (value 1) and no fetal head (value 2)"),
        (masked(HEAD), [True, True, True], "no pubic symphysis"),
        (masked(BAR), [False, False, True], "no fetal head"),
        (masked(HEAD, (1, slice(5, 6), slice(5, 6))), [True, True, True], "single pixel"),
        # A symphysis in a hole of the head.
        (
            masked((2, slice(1, 35), slice(1, 35)), (0, slice(4, 10), slice(3, 25)), BAR),
            [False, False, True],
            "PS1 lies in or on",
        ),
        (np.zeros((1, 1), np.uint8), [True, True, True], "no pubic symphysis"),
        (np.zeros((0, 0), np.uint8), [True, True, True], "no pubic symphysis"),
    ],
)
def test_degenerate_masks_give_a_reason_and_nan(mask, missing, words):
    coords, reason = geometry.landmarks_from_masks(mask)
    assert words in reason
    assert np.isnan(coords).all(axis=1).tolist() == missing
    assert np.isnan(coords).any(axis=1).tolist() == missing
