"""A made-up transperineal frame with its exact answer."""

from __future__ import annotations

import attrs
import numpy as np

from aop_pose.errors import UsageError
from aop_pose.frame import Frame
from aop_pose.geometry import FETAL_HEAD, SYMPHYSIS
from aop_pose.keypoints import Keypoints
from aop_pose.phantom.anatomy import AOP_RANGE, Anatomy, draw_anatomy
from aop_pose.phantom.devices import DEVICES, Device, Fan
from aop_pose.phantom.scan import compress, draw_border, envelope, scan_convert
from aop_pose.phantom.tissue import BeamGrid, build_tissue
from aop_pose.schemas import AOP

SIZES = (64, 2048)
"""Smallest and largest side of a frame in pixels."""


@attrs.frozen(eq=False)
class Phantom:
    """One frame, its landmarks, its mask and the device it imitates."""

    frame: Frame
    """Square, uint8, with the spacing in mm."""
    keypoints: Keypoints
    """PS1, PS2, FH1 of the outlines, not of the pixels."""
    mask: np.ndarray
    """uint8 (H, W): 0 background, 1 symphysis, 2 fetal head, by pixel centre, hidden parts included."""
    device: str
    anatomy: Anatomy
    """The outlines, in mm from the top-left corner of the frame."""


def make_phantom(
    seed: int, index: int = 0, device: str | None = None, size: int = 256, aop: float | None = None
) -> Phantom:
    """The phantom number ``index`` of a seed; the same arguments give the same pixels.

    seed, index: 0 or more. device: a name of ``DEVICES``, or None to draw one. size: pixels of a side. aop:
    degrees, 60 to 180, or None for an even draw from that range. Errors: UsageError for anything else.
    """
    check_request(seed, index, device, size)
    rng = np.random.default_rng([seed, index])
    drawn_device, drawn_aop = str(rng.choice(list(DEVICES))), rng.uniform(*AOP_RANGE)
    scanner = DEVICES[device or drawn_device]
    fan = scanner.fan(rng)
    anatomy = draw_anatomy(rng, scanner, fan, drawn_aop if aop is None else aop)
    pixels = _picture(rng, scanner, fan, anatomy, size)
    spacing = fan.width_mm / size
    points = np.array(anatomy.points) / spacing - 0.5
    return Phantom(
        frame=Frame(pixels, spacing=(spacing, spacing), source=f"phantom-{seed}-{index}"),
        keypoints=Keypoints.from_points(AOP, points),
        mask=_mask(fan, anatomy, size),
        device=scanner.name,
        anatomy=anatomy,
    )


def make_empty(seed: int, index: int = 0, device: str | None = None, size: int = 256) -> np.ndarray:
    """A frame of layers and clutter with neither symphysis nor head, uint8 (size, size); arguments as above."""
    check_request(seed, index, device, size)
    rng = np.random.default_rng([seed, index])
    scanner = DEVICES[device or str(rng.choice(list(DEVICES)))]
    fan = scanner.fan(rng)
    return _picture(rng, scanner, fan, None, size)


def _picture(rng: np.random.Generator, scanner: Device, fan: Fan, anatomy: Anatomy | None, size: int) -> np.ndarray:
    # Two samples a pixel down, a beam every second pixel at the bottom: finer than the pulse.
    grid = BeamGrid.of(fan, samples=480, beams=224)
    tissue = build_tissue(rng, scanner, fan, grid, anatomy)
    pixels = scan_convert(fan, compress(rng, scanner, envelope(rng, scanner, grid, tissue)), size)
    draw_border(scanner, fan, pixels)
    return pixels


def check_request(seed: int, index: int, device: str | None, size: int) -> None:
    """UsageError where a phantom cannot be made of these."""
    if seed < 0 or index < 0:
        raise UsageError(f"phantom: expected a seed and an index of 0 or more, found {seed} and {index}")
    if device is not None and device not in DEVICES:
        raise UsageError(f"phantom: expected a device of {', '.join(DEVICES)}; found {device!r}")
    smallest, largest = SIZES
    if not smallest <= size <= largest:
        raise UsageError(f"phantom: expected a size of {smallest} to {largest} pixels, found {size}")


def _mask(fan: Fan, anatomy: Anatomy, size: int) -> np.ndarray:
    place = (np.arange(size) + 0.5) * (fan.width_mm / size)
    x, y = np.meshgrid(place, place)
    mask = np.zeros((size, size), np.uint8)
    mask[anatomy.head.level(x, y) <= 1] = FETAL_HEAD
    mask[anatomy.symphysis.level(x, y) <= 1] = SYMPHYSIS
    return mask
