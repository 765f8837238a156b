"""The table of the finder: what overlaps is counted by hand, and every look and layout has a row."""

import numpy as np
import pytest
import region_table

from aop_pose.core.region import Region
from aop_pose.phantom import screen


def test_overlap_by_hand():
    assert region_table.overlap(Region(0, 0, 10, 10), Region(5, 0, 10, 10)) == pytest.approx(50 / 150)
    assert region_table.overlap(Region(0, 0, 4, 4), Region(4, 0, 4, 4)) == 0


def test_the_box_of_a_phantom_holds_its_bright_pixels():
    pixels, box = region_table.phantom(2, 0)
    outside = np.ones_like(pixels, bool)
    outside[box.y : box.y + box.height, box.x : box.x + box.width] = False
    assert (pixels[outside] > 20).mean() < 0.02
    assert box.cut(pixels).mean() > 5


def test_every_look_and_layout_has_a_row():
    text = region_table.table([region_table.phantom(2, 0)], 0, 1)
    assert text.count("\n") + 1 == 2 + len(screen.LOOKS) + len(screen.LAYOUTS) - 1 + 2 + 2
    assert "| **kept for testing** |" in text


def test_the_edges_of_a_fan_show_where_it_is_bright_to_them():
    pixels = np.zeros((100, 100), np.uint8)
    pixels[10:90, 20:80] = 50
    assert region_table.edges_show((pixels, Region(20, 10, 60, 80)))
    pixels[10:90, 20:25] = 0
    assert not region_table.edges_show((pixels, Region(20, 10, 60, 80)))
    assert not region_table.edges_show((np.zeros_like(pixels), Region(20, 10, 60, 80)))


def test_the_name_of_a_screen_hides_nothing_of_it_and_is_read_on_white_paper():
    paper = np.full((200, 400, 3), 255, np.uint8)
    drawn = region_table.named(paper, "white, cart")
    assert (drawn[-200:] == 255).all()
    strip = drawn[:-200]
    assert (np.median(strip), strip.max()) == (24, 255)
