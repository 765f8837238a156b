"""Speckle, gray map and scan conversion against what is known of them."""

import math

import attrs
import numpy as np
import pytest

from aop_pose.phantom.devices import DEVICES
from aop_pose.phantom.frame import compress, draw_border, envelope, scan_convert
from aop_pose.phantom.tissue import BeamGrid, Tissue

SILENT = (-200.0, -200.0)


def plain(device, **changes):
    """A device without gain curve, receiver noise or haze."""
    return attrs.evolve(DEVICES[device], gain_db=(0.0, 0.0), noise_db=SILENT, haze_db=SILENT, **changes)


def fan_of(device):
    return DEVICES[device].fan(np.random.default_rng(0))


def uniform_tissue(grid, level_db):
    nothing = np.zeros(grid.x.shape, np.float32)
    return Tissue(scatter_db=nothing + level_db, mirror=nothing, loss_db=nothing)


@pytest.mark.parametrize("looks", [1, 4])
def test_homogeneous_tissue_gives_rayleigh_speckle_of_the_level_asked_for(looks):
    fan = fan_of("wide")
    grid = BeamGrid.of(fan, 480, 224)
    # Wider pulse than the device's: the formula for the level holds for pulses of a sample or more.
    device = plain("wide", looks=looks, axial_mm=0.6, lateral_deg=0.7)
    magnitude = envelope(np.random.default_rng(1), device, grid, uniform_tissue(grid, -20.0))
    rayleigh = math.sqrt(math.pi / (4 - math.pi))
    assert magnitude.mean() / magnitude.std() == pytest.approx(rayleigh * math.sqrt(looks), rel=0.06)
    assert 20 * math.log10(magnitude.mean() / math.sqrt(math.pi / 4)) == pytest.approx(-20.0, abs=0.4)


def test_loss_and_gain_act_on_the_echo_in_decibels():
    fan = fan_of("narrow")
    grid = BeamGrid.of(fan, 200, 100)
    tissue = uniform_tissue(grid, -20.0)
    shaded = attrs.evolve(tissue, loss_db=np.full(grid.x.shape, 6.0206, np.float32))
    louder = plain("narrow")
    louder = attrs.evolve(louder, gain_db=(6.0206, 6.0206))
    bare = envelope(np.random.default_rng(2), plain("narrow"), grid, tissue)
    np.testing.assert_allclose(
        envelope(np.random.default_rng(2), plain("narrow"), grid, shaded), bare / 2, rtol=1e-3, atol=1e-6
    )
    np.testing.assert_allclose(envelope(np.random.default_rng(2), louder, grid, tissue), bare * 2, rtol=1e-3, atol=1e-6)


def test_the_gray_map_rises_with_the_echo_and_sets_the_gain():
    magnitude = np.geomspace(1e-4, 1, 10_000).reshape(100, 100)
    gray = compress(np.random.default_rng(3), DEVICES["wide"], magnitude)
    assert (np.diff(gray.ravel()) >= 0).all()
    assert gray.max() <= 255
    assert gray.min() >= 0
    assert 185 <= np.percentile(gray, 99) <= 245


@pytest.mark.parametrize("device", DEVICES)
def test_a_sample_lands_where_its_beam_and_depth_say(device):
    fan = fan_of(device)
    grid = BeamGrid.of(fan, 481, 225)
    gray = np.zeros(grid.x.shape, np.float32)
    sample, beam = 200, 150
    gray[sample - 4 : sample + 5, beam - 4 : beam + 5] = 250
    frame = scan_convert(fan, gray, 512)
    y, x = (indices.mean() for indices in np.nonzero(frame > 120))
    spacing = fan.width_mm / 512
    assert (x + 0.5) * spacing == pytest.approx(float(grid.x[sample, beam]), abs=1.0)
    assert (y + 0.5) * spacing == pytest.approx(float(grid.y[sample, beam]), abs=1.0)


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_is_shown_outside_the_fan_and_no_mark_lies_on_it(device):
    fan = fan_of(device)
    frame = scan_convert(fan, np.full((100, 100), 90, np.float32), 256)
    place = (np.arange(256) + 0.5) * fan.width_mm / 256
    inside = fan.contains(*np.meshgrid(place, place))
    assert (frame[~inside] == 0).all()
    assert (frame[fan.contains(*np.meshgrid(place, place), margin=2.0)] > 80).all()
    marked = frame.copy()
    draw_border(DEVICES[device], fan, marked)
    assert (marked != frame).sum() > 50
    np.testing.assert_array_equal(marked[inside], frame[inside])
