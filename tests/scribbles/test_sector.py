"""The sector of made-up fans, and of pictures that have none."""

import cv2
import numpy as np
import pytest
import shapely

from aop_pose.scribbles.boxes import find_sector


def fan(size=256, shadow=False, furniture=False):
    """A speckled fan of 2 x 40 degrees below a curved probe; its exact outline."""
    apex, near, far = np.array([0.5, -0.15]) * size, 0.2 * size, 1.05 * size
    angles = np.radians(np.linspace(-40, 40, 81))
    directions = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    outline = np.vstack([apex + near * directions, apex + far * directions[::-1]])
    mask = cv2.fillPoly(np.zeros((size, size), np.uint8), [np.rint(outline).astype(np.int32)], 1)
    speckle = np.random.default_rng(0).gamma(2.0, 30.0, (size, size)).clip(8, 255)
    pixels = (speckle * mask).astype(np.uint8)
    if shadow:
        pixels[size // 4 :, int(0.45 * size) : int(0.55 * size)] = 0
    if furniture:
        pixels[4 : size // 3, 2 : 2 + size // 60] = 200
        cv2.putText(pixels, "12 cm", (2, size - 4), cv2.FONT_HERSHEY_SIMPLEX, size / 800, 255)
    return pixels, mask


def painted(sector, size):
    return cv2.fillConvexPoly(np.zeros((size, size), np.uint8), np.rint(sector.exterior.coords).astype(np.int32), 1)


@pytest.mark.parametrize("size", [256, 600])
@pytest.mark.parametrize("options", [{}, {"shadow": True}, {"furniture": True}], ids=str)
def test_fan_is_found(size, options):
    pixels, mask = fan(size, **options)
    sector = find_sector(pixels)
    assert sector is not None
    assert sector.is_valid
    found = painted(sector, size)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = cv2.fillConvexPoly(np.zeros_like(mask), cv2.convexHull(contours[0]), 1)
    assert (found & hull).sum() / (found | hull).sum() > 0.96


def test_trapezoid_is_found():
    corners = np.array([(90, 10), (160, 10), (240, 245), (15, 245)])
    grain = np.random.default_rng(0).integers(60, 180, (256, 256), np.uint8)
    pixels = grain * cv2.fillConvexPoly(np.zeros((256, 256), np.uint8), corners, 1)
    sector = find_sector(pixels)
    assert sector.symmetric_difference(shapely.Polygon(corners)).area < 0.02 * sector.area


def test_scale_beside_the_fan_is_outside():
    pixels, _ = fan(furniture=True)
    sector = find_sector(pixels)
    assert not sector.intersects(shapely.box(2, 4, 5, 80))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((256, 256), np.uint8),
        np.full((256, 256), 90, np.uint8),
        cv2.putText(np.zeros((256, 256), np.uint8), "no fan", (20, 120), cv2.FONT_HERSHEY_SIMPLEX, 1, 255, 2),
        np.full((1, 1), 90, np.uint8),
        # Two pictures side by side: which of them is meant cannot be told.
        np.tile(np.pad(fan(200)[0], 28), 2),
    ],
    ids=["black", "full", "writing", "one pixel", "two pictures"],
)
def test_none_where_no_sector_can_be_told(pixels):
    assert find_sector(pixels) is None


def test_picture_stored_by_columns_is_read_too():
    pixels, _ = fan()
    assert find_sector(np.asfortranarray(pixels)).equals(find_sector(pixels))
