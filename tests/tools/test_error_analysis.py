"""The parts of an error add up as worked out by hand."""

import cv2
import numpy as np
import pytest
from error_analysis import identical_frames
from error_parts import axis_errors, own_part, share_between

# PS1, PS2, FH1: the axis runs to the left, the head lies below it.
TRUTH = np.array([[[10.0, 0.0], [0.0, 0.0], [10.0, 5.0]]])


def test_errors_along_and_across_the_axis():
    found = TRUTH + np.array([[1.0, 2.0], [-3.0, -1.0], [0.0, 0.0]])
    along, across = axis_errors(found, TRUTH, np.array([2.0]))
    assert along.tolist() == [[-2, 6, 0]]
    assert across.tolist() == [[4, -2, 0]]


def test_errors_along_and_across_the_ray_to_the_head():
    along, across = axis_errors(TRUTH + np.array([0.0, 3.0]), TRUTH, np.array([1.0]), to=2)
    assert along[0, 2] == 3
    assert across[0, 2] == 0
    # Across is positive to the side of PS2, which lies to the left.
    _, across = axis_errors(TRUTH + np.array([-4.0, 0.0]), TRUTH, np.array([1.0]), to=2)
    assert across[0, 2] == 4


def test_axis_errors_do_not_change_when_picture_and_points_are_mirrored():
    rng = np.random.default_rng(0)
    truth, found = rng.normal(size=(2, 50, 3, 2)) * 40
    mirrored = [points * [-1, 1] for points in (found, truth)]
    for part, other in zip(axis_errors(found, truth, np.ones(50)), axis_errors(*mirrored, np.ones(50)), strict=True):
        assert part == pytest.approx(other)


def test_share_of_variance_between_groups():
    # Means 2 and 6: mean squares 16 between and 2 within, component (16 - 2) / 2 = 7 of 7 + 2.
    assert share_between(np.array([1.0, 3, 5, 7]), np.array([0, 0, 1, 1])) == pytest.approx(7 / 9)
    assert share_between(np.array([1.0, 7, 1, 7]), np.array([0, 0, 1, 1])) == 0
    assert np.isnan(share_between(np.array([1.0, 7]), np.array([0, 1])))


def test_squares_are_subtracted():
    assert own_part(np.array([5.0, 2.0]), np.array([3.0, 3.0])).tolist() == [4, 0]


@pytest.fixture
def labels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    for name, picture in (("a.png", pixels), ("b.png", pixels), ("c.png", pixels[::-1]), ("d.png", pixels[::-1])):
        cv2.imwrite(str(tmp_path / name), picture)
    rows = ['a.png,"(40, 10)","(10, 10)","(50, 20)"', 'b.png,"(40, 13)","(10, 10)","(50, 20)"']
    rows += [f'{name}.png,"(40, 10)","(10, 10)","(50, 20)"' for name in "cd"]
    (tmp_path / "l.csv").write_text("\n".join(["Filename,PS1,PS2,FH1", *rows]) + "\n")
    return tmp_path / "l.csv"


def test_identical_pictures_with_other_points_tell_label_noise(labels):
    lines = identical_frames([labels], labels.parent, [])
    assert lines[0].startswith("2 pairs of pictures are identical, 1 of them")
    # PS1 moved 3 of 64 pixels: 24 on the 512 scale, 8 over three points. At (40, 10) the head's ray turns 45 degrees
    # from the axis; at (40, 13) the rays to PS2 (-30, -3) and FH1 (10, 7) enclose 180 - 34.99 + 5.71 degrees.
    assert "| a.png, b.png | 24.0 | 0.0 | 0.0 | 8.0 | 15.7 |" in lines
    assert "| mean / sqrt(2): a perfect reader against one label | 17.0 | 0.0 | 0.0 | 5.7 | 11.1 |" in lines
