"""A made-up transperineal frame with its exact answer."""

from __future__ import annotations

import math

import attrs
import cv2
import numpy as np

from aop_pose.core.frame import Frame
from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.geometry import FETAL_HEAD, SYMPHYSIS
from aop_pose.phantom.anatomy import AOP_RANGE, Anatomy, draw_anatomy
from aop_pose.phantom.devices import DEVICES, Device, Fan
from aop_pose.phantom.tissue import BeamGrid, Tissue, build_tissue

NOISE_BEAMS = 1.0
"""Standard deviation, in beams, to which the receiver's noise is smoothed across: displays blend beams."""
BRIGHTEST_GRAY = (188.0, 242.0)
"""Gray value that the operator gives the 99th percentile."""


def _curve(values: tuple[float, ...], count: int) -> np.ndarray:
    """Values at equal steps, drawn out to ``count`` samples down the beam, shape (count, 1)."""
    steps = np.linspace(0, len(values) - 1, count)
    return np.interp(steps, np.arange(len(values)), values)[:, None].astype(np.float32)


def _complex_noise(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Circular Gaussian, mean power 1, as two real channels."""
    return rng.standard_normal((*shape, 2), dtype=np.float32) * np.float32(math.sqrt(0.5))


def _pulse(field: np.ndarray, axial: float, lateral: float) -> np.ndarray:
    """Convolution with a Gaussian of sum 1 and the given standard deviations in samples and beams."""
    return cv2.GaussianBlur(field, (0, 0), sigmaX=lateral, sigmaY=axial, borderType=cv2.BORDER_REFLECT)


def envelope(rng: np.random.Generator, device: Device, grid: BeamGrid, tissue: Tissue) -> np.ndarray:
    """Magnitude of the received echo, shape (samples, beams); 1 = 0 dB."""
    shape = tissue.scatter_db.shape
    axial = device.axial_mm / grid.step
    lateral = math.radians(device.lateral_deg) / float(grid.angle[0, 1] - grid.angle[0, 0])
    # A Gaussian pulse averages independent scatterers: this factor gives the speckle unit power again.
    restore = math.sqrt(4 * math.pi * max(axial, 0.3) * max(lateral, 0.3))
    gain = _curve(device.gain_db, shape[0])
    received = (10 ** ((gain - tissue.loss_db) / 20))[..., None]
    # Receiver noise has passed no body, only the receiver's filter along the beam.
    quiet = _curve(device.noise_db, shape[0]) + rng.normal(0.0, 1.5)
    noise_level = (10 ** (quiet / 20) * math.sqrt(4 * math.pi * max(axial, 0.3) * NOISE_BEAMS))[..., None]
    scatterers = (restore * 10 ** (tissue.scatter_db / 20))[..., None]
    total = np.zeros(shape, np.float32)
    for _ in range(device.looks):
        field = _complex_noise(rng, shape) * scatterers
        field[..., 0] += tissue.mirror
        echo = _pulse(field, axial, lateral) * received
        echo += _pulse(_complex_noise(rng, shape), axial, NOISE_BEAMS) * noise_level
        total += cv2.magnitude(echo[..., 0], echo[..., 1])
    # Off-axis clutter is the sum of so many echoes that it shows no speckle; it half fills shadows.
    haze = _curve(device.haze_db, shape[0]) + rng.uniform(-14.0, 1.0) - tissue.loss_db / 2
    return total / device.looks + 10 ** (haze / 20)


def compress(rng: np.random.Generator, device: Device, magnitude: np.ndarray) -> np.ndarray:
    """Log compression and gray map: float32 gray values 0-255, with the gain set as an operator would.

    The gain is turned until the brightest hundredth of the picture nears white, in some frames more closely.
    """
    db = 20 * np.log10(np.maximum(magnitude, 1e-6))
    near_white = (rng.uniform(*BRIGHTEST_GRAY) / 255) ** (1 / device.gamma) - 1
    db += near_white * device.dynamic_range_db - np.percentile(db[::2, ::2], 99)
    shown = np.clip(1 + db / device.dynamic_range_db, 0, 1)
    return (255 * shown**device.gamma).astype(np.float32)


def scan_convert(fan: Fan, gray: np.ndarray, size: int) -> np.ndarray:
    """Beam samples (samples, beams) drawn into a (size, size) frame, uint8; black outside the fan."""
    x, y = _pixel_centres(fan, size)
    radius, angle = fan.to_polar(x, y)
    samples, beams = gray.shape
    down = (radius - fan.near) * ((samples - 1) / (fan.far - fan.near))
    across = (angle + fan.half_angle) * ((beams - 1) / (2 * fan.half_angle))
    frame = cv2.remap(gray, across.astype(np.float32), down.astype(np.float32), cv2.INTER_LINEAR, borderValue=0)
    frame[~fan.contains(x, y)] = 0
    return np.round(frame).clip(0, 255).astype(np.uint8)


def draw_border(device: Device, fan: Fan, frame: np.ndarray) -> None:
    """Marks around the fan, without text, drawn into ``frame``; never over the fan."""
    size = frame.shape[0]
    echoes, inside = frame.copy(), fan.contains(*_pixel_centres(fan, size))

    def at(fraction: float) -> int:
        return round(fraction * size)

    if device.border == "bar":
        bar = np.linspace(255, 0, at(0.24)).astype(np.uint8)
        frame[at(0.008) : at(0.008) + len(bar), at(0.02) : at(0.04)] = bar[:, None]
        for tick in (0.2, 0.25, 0.4, 0.55, 0.7, 0.76):
            frame[at(0.906), at(tick)] = 140
        for tick in (0.18, 0.24, 0.36, 0.66):
            frame[at(tick), at(0.99)] = 110
        frame[at(0.5) : at(0.51), at(0.98) : at(0.988)] = 230
    else:
        frame[0, at(0.07) : at(0.36)] = 45
        left = at((fan.apex_x - fan.near * math.sin(fan.half_angle)) / fan.width_mm) - at(0.07)
        cv2.rectangle(frame, (left, at(0.008)), (left + at(0.016), at(0.025)), 110, 1)
        frame[at(0.022) : at(0.03), at(fan.apex_x / fan.width_mm)] = 180
    frame[inside] = echoes[inside]


def _pixel_centres(fan: Fan, size: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y in mm of the pixels of a frame, two arrays of shape (size, size)."""
    place = ((np.arange(size, dtype=np.float32) + 0.5) * (fan.width_mm / size)).astype(np.float32)
    x, y = np.meshgrid(place, place)
    return x, y


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
