"""A phantom's landmarks are the exact answer of its outlines, and the same request gives the same pixels."""

import itertools
import math

import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.geometry import (
    FETAL_HEAD,
    SYMPHYSIS,
    angle_of_progression,
    landmarks_from_masks,
    largest_contour,
    symphysis_ends,
    tangent_point,
)
from aop_pose.phantom import DEVICES, frame, make_phantom
from aop_pose.phantom.frame import make_empty

EVERYWHERE = list(itertools.product(DEVICES, (60.0, 97.5, 140.0, 180.0)))


def slow_outline(ellipse, count=2000):
    """Points of an ellipse in mm, written out one by one."""
    points = []
    for k in range(count):
        u = ellipse.long * math.cos(2 * math.pi * k / count)
        v = ellipse.short * math.sin(2 * math.pi * k / count)
        c, s = math.cos(ellipse.tilt), math.sin(ellipse.tilt)
        points.append((ellipse.x + c * u - s * v, ellipse.y + s * u + c * v))
    return np.array(points)


def in_pixels(phantom, millimetres):
    return np.asarray(millimetres) / phantom.frame.spacing[0] - 0.5


@pytest.mark.parametrize(("device", "aop"), EVERYWHERE)
def test_the_angle_is_the_one_asked_for(device, aop):
    phantom = make_phantom(3, 0, device, aop=aop)
    assert float(angle_of_progression(*phantom.keypoints.coords)) == pytest.approx(aop, abs=1e-6)


@pytest.mark.parametrize(("device", "aop"), EVERYWHERE)
def test_landmarks_are_those_of_the_outlines_by_definition(device, aop):
    phantom = make_phantom(4, 1, device, aop=aop)
    ps1, ps2 = symphysis_ends(in_pixels(phantom, slow_outline(phantom.anatomy.symphysis)))
    fh1 = tangent_point(ps1, ps2, in_pixels(phantom, slow_outline(phantom.anatomy.head)))
    # 2000 points lie up to 0.3 pixels apart.
    np.testing.assert_allclose(phantom.keypoints.coords, [ps1, ps2, fh1], atol=0.2)


@pytest.mark.parametrize(("device", "aop"), EVERYWHERE)
def test_the_mask_gives_the_landmarks_back_to_its_resolution(device, aop):
    phantom = make_phantom(5, 2, device, size=512, aop=aop)
    ps1, ps2, fh1 = phantom.keypoints.coords
    found, reason = landmarks_from_masks(phantom.mask)
    assert reason == ""
    assert np.linalg.norm(found[0] - found[1]) == pytest.approx(np.linalg.norm(ps1 - ps2), abs=2.0)
    # A tip is flat: one pixel of length lets the ends slide several pixels along the outline.
    assert np.linalg.norm(found[:2] - [ps1, ps2], axis=1).max() < 6.0
    # Seen from the exact PS1, the border pixels of the head turn as far as the head, to a pixel at FH1's range.
    border = tangent_point(ps1, ps2, largest_contour(phantom.mask == FETAL_HEAD))
    pixel = math.degrees(1.0 / np.linalg.norm(fh1 - ps1))
    assert float(angle_of_progression(ps1, ps2, border)) == pytest.approx(aop, abs=1.5 * pixel)


def test_a_pixel_is_masked_by_its_centre():
    phantom = make_phantom(6, 0)
    for value, ellipse in ((SYMPHYSIS, phantom.anatomy.symphysis), (FETAL_HEAD, phantom.anatomy.head)):
        area = (phantom.mask == value).sum() * phantom.frame.spacing[0] ** 2
        assert area == pytest.approx(math.pi * ellipse.long * ellipse.short, rel=0.01)
    x, y = in_pixels(phantom, (phantom.anatomy.head.x, phantom.anatomy.head.y)).round().astype(int)
    assert phantom.mask[y, x] == FETAL_HEAD


def test_the_orientation_is_that_of_real_frames():
    for index in range(20):
        phantom = make_phantom(7, index)
        ps1, ps2, fh1 = phantom.keypoints.coords
        rows, _ = np.nonzero(phantom.mask == FETAL_HEAD)
        assert ps1[0] > ps2[0]
        assert rows.mean() > max(ps1[1], ps2[1])
        assert (fh1 > 0).all()
        assert (fh1 < 255).all()


def test_the_same_request_gives_the_same_pixels_and_another_index_does_not():
    first, again, other = make_phantom(8, 3), make_phantom(8, 3), make_phantom(8, 4)
    np.testing.assert_array_equal(first.frame.pixels, again.frame.pixels)
    np.testing.assert_array_equal(first.keypoints.coords, again.keypoints.coords)
    assert (first.frame.pixels != other.frame.pixels).any()


def test_a_drawn_device_and_angle_can_be_asked_for_by_name():
    drawn = make_phantom(9, 5)
    aop = float(angle_of_progression(*drawn.keypoints.coords))
    asked = make_phantom(9, 5, device=drawn.device, aop=aop)
    np.testing.assert_allclose(asked.keypoints.coords, drawn.keypoints.coords, atol=1e-3)


def test_landmarks_do_not_depend_on_the_size_of_the_frame():
    small, large = make_phantom(10, 0, size=128), make_phantom(10, 0, size=512)
    np.testing.assert_allclose((small.keypoints.coords + 0.5) * 4, large.keypoints.coords + 0.5)
    assert large.frame.pixels.shape == large.mask.shape == (512, 512)
    assert small.frame.spacing[0] == pytest.approx(4 * large.frame.spacing[0])


def test_angles_are_spread_evenly_and_every_device_appears(monkeypatch):
    # The pictures are not looked at here, and they are what takes time.
    monkeypatch.setattr(frame, "_picture", lambda *given: np.zeros((64, 64), np.uint8))
    phantoms = [make_phantom(11, index, size=64) for index in range(90)]
    angles = [float(angle_of_progression(*phantom.keypoints.coords)) for phantom in phantoms]
    counts, _ = np.histogram(angles, bins=[60, 90, 120, 150, 180])
    assert counts.sum() == 90
    assert counts.min() >= 12
    assert {phantom.device for phantom in phantoms} == set(DEVICES)


def test_the_symphysis_shows_and_the_head_is_darker_than_what_surrounds_it():
    differences = []
    for index in range(12):
        phantom = make_phantom(12, index)
        pixels, mask = phantom.frame.pixels.astype(float), phantom.mask
        differences.append(pixels[mask == SYMPHYSIS].mean() - pixels[mask == FETAL_HEAD].mean())
    assert np.median(differences) > 20


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"aop": 59.0}, "60 to 180 degrees, found 59"),
        ({"aop": float("nan")}, "60 to 180 degrees, found nan"),
        ({"device": "wild"}, "expected a device of wide, narrow, hazy; found 'wild'"),
        ({"size": 63}, "64 to 2048 pixels, found 63"),
        ({"seed": -1}, "seed and an index of 0 or more, found -1"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(request_, words):
    with pytest.raises(UsageError, match=words) as caught:
        make_phantom(**{"seed": 0, **request_})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", DEVICES)
def test_an_empty_frame_has_the_scanner_and_not_the_anatomy(device):
    """The darkest large place of a phantom is the head's inside; an empty frame has nothing so large and so dark."""
    empty, full = make_empty(3, 0, device), make_phantom(3, 0, device)
    assert (empty.shape, empty.dtype) == ((256, 256), np.uint8)
    assert empty.std() > 10
    np.testing.assert_array_equal(empty, make_empty(3, 0, device))
    assert (empty != make_empty(3, 1, device)).mean() > 0.2
    outside = full.mask == 0
    # Where there is no ultrasound there is none in either.
    beyond = outside & (full.frame.pixels == 0)
    assert (empty[beyond] == 0).mean() > 0.5


@pytest.mark.parametrize("given", [{"seed": -1}, {"seed": 0, "device": "x"}, {"seed": 0, "size": 1}])
def test_an_empty_frame_that_cannot_be_made_is_refused(given):
    with pytest.raises(UsageError, match="phantom: expected"):
        make_empty(**given)
