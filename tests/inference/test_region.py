"""The finder of the ultrasound: phantoms on made-up screens, whose boxes are known, and pictures without any."""

import cv2
import numpy as np
import pytest

from aop_pose.core.region import Region
from aop_pose.inference.region import find_region
from aop_pose.phantom import screen
from aop_pose.phantom.devices import DEVICES
from aop_pose.phantom.frame import make_phantom
from tests.fakes import textured

SEED = 5


def fan_box(device: str, size: int = 256) -> Region:
    """The box around the fan of phantom 0 of ``SEED``, by its own geometry."""
    rng = np.random.default_rng([SEED, 0])
    rng.choice(list(DEVICES))
    rng.uniform(60, 180)
    fan = DEVICES[device].fan(rng)
    x, y = np.meshgrid(*2 * [(np.arange(size) + 0.5) * fan.width_mm / size])
    rows, columns = np.nonzero(fan.contains(x, y))
    left, top = int(columns.min()), int(rows.min())
    return Region(left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top)


def shared_of(one: Region, other: Region) -> float:
    """Area of both over area of either."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    both = max(width, 0) * max(height, 0)
    return both / (one.width * one.height + other.width * other.height - both)


@pytest.fixture(scope="module")
def phantoms():
    return {device: make_phantom(SEED, 0, device).frame.pixels for device in DEVICES}


def on_screen(phantoms, device, layout, look, size=(800, 600), seed=0):
    rng = np.random.default_rng(seed)
    return screen.make_screen(phantoms[device], fan_box(device), rng, layout, look, size)


@pytest.mark.parametrize("device", list(DEVICES))
@pytest.mark.parametrize("look", [*(look for look in screen.LOOKS if look not in screen.KEPT_LOOKS), "desktop"])
def test_the_fan_is_found_on_the_screen_of_any_machine(phantoms, device, look):
    made = on_screen(phantoms, device, "one", look, (540, 960) if look == "phone" else (800, 600))
    (found,) = find_region(made.pixels).regions
    assert shared_of(found, made.regions[0]) > 0.9
    assert found.how == "found"


@pytest.mark.parametrize("seed", range(4))
def test_clouds_behind_a_window_are_neither_a_picture_nor_a_strip(phantoms, seed):
    sight = find_region(on_screen(phantoms, "wide", "one", "desktop", (960, 540), seed).pixels)
    assert (len(sight.regions), sight.reason) == (1, "")


@pytest.mark.parametrize("layout", ["side bars", "white", "gray"])
def test_bars_and_paper_are_no_ultrasound(phantoms, layout):
    made = on_screen(phantoms, "wide", layout, "cart", (960, 540))
    (found,) = find_region(made.pixels).regions
    assert shared_of(found, made.regions[0]) > 0.9


def test_a_strip_below_the_fan_is_left_out_and_said(phantoms):
    made = on_screen(phantoms, "narrow", "strip", "panels", seed=3)
    sight = find_region(made.pixels)
    assert shared_of(sight.regions[0], made.regions[0]) > 0.9
    assert sight.reason == "a strip beside the picture (M-mode, Doppler) is not looked at"


@pytest.mark.parametrize("layout", screen.SEVERAL)
def test_several_pictures_are_several(phantoms, layout):
    made = on_screen(phantoms, "wide", layout, "cart")
    found = find_region(made.pixels).regions
    assert len(found) == len(made.regions)
    assert all(max(shared_of(one, other) for other in found) > 0.85 for one in made.regions)


@pytest.mark.parametrize("size", [300, 1000, 4000])
@pytest.mark.parametrize("device", list(DEVICES))
def test_a_fan_that_fills_its_frame_is_looked_at_whole(phantoms, device, size):
    pixels = cv2.resize(phantoms[device], (size, size), interpolation=cv2.INTER_LINEAR)
    assert find_region(pixels).regions == (Region.whole(size, size),)
    assert find_region(textured(0)).regions == (Region.whole(256, 256),)


def test_the_box_grows_with_the_picture(phantoms):
    small = on_screen(phantoms, "wide", "one", "night", (400, 300))
    large = cv2.resize(small.pixels, None, fx=5, fy=5, interpolation=cv2.INTER_NEAREST)
    (one,), (other,) = find_region(small.pixels).regions, find_region(large).regions
    assert np.abs(5 * np.array(one.box) - other.box).max() <= 5 * 6


def writing(ground: int) -> np.ndarray:
    page = np.full((480, 640), ground, np.uint8)
    for line in range(30, 480, 24):
        cv2.putText(
            page, "Report of the examination, page 1", (12, line), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255 - ground, 2
        )
    return page


@pytest.mark.parametrize(
    "pixels", [writing(0), writing(255), np.zeros((480, 640), np.uint8)], ids=["dark", "light", "no"]
)
def test_where_there_is_no_ultrasound_the_reason_says_what_to_do(pixels):
    sight = find_region(pixels)
    assert sight.regions == ()
    assert sight.reason.endswith("give --region X,Y,W,H, or --region whole")
    assert sight.outline is None


def test_a_fan_cut_by_the_border_is_its_visible_part(phantoms):
    made = on_screen(phantoms, "wide", "one", "cart")
    known = made.regions[0]
    edge = known.x + known.width // 3
    sight = find_region(made.pixels[:, edge:])
    (found,) = sight.regions
    assert sight.reason == "the picture is cut by the edge of the frame"
    assert find_region(made.pixels).reason == ""
    assert found.x <= 3
    assert abs(found.x + found.width - (known.width - known.width // 3)) < 0.1 * known.width


def test_fans_that_touch_are_several(phantoms):
    box = fan_box("wide")
    fan = phantoms["wide"][box.y : box.y + box.height, box.x : box.x + box.width]
    page = np.zeros((900, 1200), np.uint8)
    for column in range(2):
        for row in range(2):
            page[40 + row * fan.shape[0] :, 60 + column * 500 :][: fan.shape[0], : fan.shape[1]] = fan
    found = find_region(page).regions
    known = [Region(60 + 500 * c, 40 + fan.shape[0] * r, *fan.shape[::-1]) for c in range(2) for r in range(2)]
    assert len(found) == len(known)
    assert all(max(shared_of(one, other) for other in found) > 0.85 for one in known)


@pytest.mark.parametrize("device", list(DEVICES))
def test_a_fan_with_a_dark_band_is_one(phantoms, device):
    """A band across its middle is dark, as a shadow or a bowel can be: nothing is split."""
    made = on_screen(phantoms, device, "one", "cart")
    known, pixels = made.regions[0], made.pixels.copy()
    middle = known.y + known.height // 2
    pixels[middle : middle + known.height // 12, known.x : known.x + known.width // 2] = 0
    (found,) = find_region(pixels).regions
    assert shared_of(found, known) > 0.9
