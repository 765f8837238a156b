"""The part of a frame that is looked at: its numbers, its pixels, and points there and back."""

import numpy as np
import pytest

from aop_pose.core.frame import Frame
from aop_pose.core.region import Region, wanted_region
from aop_pose.errors import UsageError


def test_a_region_cuts_its_pixels_and_knows_its_points_in_the_frame():
    picture = np.arange(20, dtype=np.uint8).reshape(4, 5)
    region = Region(1, 2, 3, 2)
    assert region.cut(picture).tolist() == [[11, 12, 13], [16, 17, 18]]
    assert region.to_frame([[0, 0], [2.5, 1]]).tolist() == [[1, 2], [3.5, 3]]
    assert region.to_region(region.to_frame([[0.25, 7]])).tolist() == [[0.25, 7]]
    assert (region.box, str(region), region.how) == ((1, 2, 3, 2), "1,2,3,2", "given")


def test_what_reaches_beyond_is_clipped_and_never_cut_by_itself():
    assert Region(-2, 1, 4, 9, "file").clipped(5, 4) == Region(0, 1, 2, 3, "file")
    assert Region(5, 0, 2, 2).clipped(5, 4) is None
    assert Region(0, 0, 5, 4).lies_in(5, 4)
    assert not Region(1, 0, 5, 4).lies_in(5, 4)
    with pytest.raises(ValueError, match="inside 5 x 4 pixels, found 1,0,5,4"):
        Region(1, 0, 5, 4).cut(np.zeros((4, 5), np.uint8))


@pytest.mark.parametrize(
    "numbers", [(0, 0, 0, 4), (0, 0, 4, -1), (0.5, 0, 4, 4), (0, 0, float("nan"), 4), (True, 0, 1, 1)]
)
def test_a_region_is_whole_pixels_and_has_an_area(numbers):
    with pytest.raises(ValueError, match="region"):
        Region(*numbers)


def test_how_a_region_came_is_one_of_four_words():
    assert Region.whole(5, 4) == Region(0, 0, 5, 4, "whole")
    with pytest.raises(ValueError, match="how"):
        Region(0, 0, 5, 4, "guessed")


def test_a_frame_holds_a_region_inside_it_alone():
    picture = Frame(np.zeros((4, 5), np.uint8), spacing=(0.2, 0.1), region=Region(1, 0, 4, 4, "file"))
    assert picture.region.box == (1, 0, 4, 4)
    with pytest.raises(ValueError, match="region: expected one inside 5 x 4 pixels, found 2,0,4,4"):
        Frame(np.zeros((4, 5), np.uint8), region=Region(2, 0, 4, 4))


def test_the_part_of_a_frame_is_a_frame_of_the_same_spacing_and_origin():
    frame = Frame(np.arange(20, dtype=np.uint8).reshape(4, 5), spacing=(0.2, 0.1), source="a.png", index=3)
    part = frame.cut_to(Region(1, 2, 3, 2))
    assert (part.shape, part.spacing, part.source, part.index) == ((3, 2), (0.2, 0.1), "a.png", 3)
    assert part.pixels.tolist() == [[11, 12, 13], [16, 17, 18]]
    assert frame.cut_to(Region(0, 0, 5, 4, "found")) is frame


def test_what_is_typed_is_two_words_or_four_whole_numbers():
    assert (wanted_region("auto"), wanted_region("whole")) == ("auto", "whole")
    assert wanted_region("10, 20,300,400") == wanted_region((10, 20, 300, 400)) == Region(10, 20, 300, 400, "given")
    for wrong in ("", "fan", "1,2,3", "1,2,3,4,5", "1,2,3,0", "-1,0,5,5", "1.5,0,5,5", "a,b,c,d"):
        with pytest.raises(UsageError, match="--region: expected auto, whole or X,Y,W,H"):
            wanted_region(wrong)
