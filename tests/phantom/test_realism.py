"""Statistics of a frame against made-up frames of known answer; phantoms against the range of real frames."""

import math

import cv2
import numpy as np
import pytest

from aop_pose.phantom import DEVICES, make_phantom
from lib.realism import ASSUMED_DYNAMIC_RANGE_DB, frame_statistics, ranges


def drawn_fan(half_angle_deg, rng=None):
    """A fan of gray 100, or of Rayleigh speckle, with its apex at (128, -50) and radii of 65 and 280 pixels."""
    x, y = np.meshgrid(np.arange(256) - 128.0, np.arange(256) + 50.0)
    inside = (np.hypot(x, y) > 65) & (np.hypot(x, y) < 280) & (abs(np.degrees(np.arctan2(x, y))) < half_angle_deg)
    gray = np.full((256, 256), 100.0)
    if rng is not None:
        magnitude = 0.01 * rng.rayleigh(1 / math.sqrt(2), (256, 256))
        gray = 255 * (1 + 20 * np.log10(magnitude) / ASSUMED_DYNAMIC_RANGE_DB)
    return np.where(inside, gray.clip(0, 255), 0).astype(np.uint8), inside


@pytest.mark.parametrize("half_angle", [22.0, 30.0])
def test_sector_geometry_of_a_drawn_fan(half_angle):
    pixels, inside = drawn_fan(half_angle)
    pixels[3:60, 2:9] = 200  # a gray bar beside the fan is not part of it
    statistics = frame_statistics(pixels)
    assert statistics["opening_deg"] == pytest.approx(2 * half_angle, abs=2.0)
    assert statistics["coverage"] == pytest.approx(inside.mean(), abs=0.02)
    assert statistics["gray_p50"] == 100


def test_speckle_of_a_drawn_fan_is_rayleigh_and_white():
    pixels, _ = drawn_fan(30.0, np.random.default_rng(0))
    statistics = frame_statistics(pixels)
    # Patches with a clipped pixel are left out, which favours the more even ones a little.
    assert statistics["speckle_snr"] == pytest.approx(math.sqrt(math.pi / (4 - math.pi)), rel=0.1)
    assert statistics["grain_x"] == pytest.approx(0.0, abs=0.06)
    assert statistics["grain_y"] == pytest.approx(0.0, abs=0.06)


def test_a_black_frame_has_no_speckle_and_no_sector():
    statistics = frame_statistics(np.zeros((256, 256), np.uint8))
    assert math.isnan(statistics["speckle_snr"])
    assert math.isnan(statistics["opening_deg"])
    assert statistics["dark_share"] == 1.0


def test_ranges_leave_missing_values_out():
    spread = ranges([{"a": 1.0}, {"a": float("nan")}, {"a": 3.0}], low=0, high=100)
    assert spread == {"a": (1.0, 2.0, 3.0)}


def test_phantoms_lie_within_the_range_of_real_frames(shared_data):
    paths = sorted((shared_data / "psfhs" / "images").glob("*.png"))[::8]
    real = ranges([frame_statistics(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)) for path in paths])
    for device in DEVICES:
        made = [frame_statistics(make_phantom(17, index, device).frame.pixels) for index in range(36)]
        for name, (low, _, high) in real.items():
            values = np.array([row[name] for row in made])
            assert low <= np.median(values) <= high, f"{device}: median {name} {np.median(values):.2f}"
            share = ((values >= low) & (values <= high)).mean()
            assert share >= 0.7, f"{device}: {share:.0%} of phantoms have {name} in {low:.2f} to {high:.2f}"
