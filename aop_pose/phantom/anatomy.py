"""Where the symphysis and the head lie, so that the angle of progression is exactly the one asked for.

The head is an ellipse placed to touch the ray that leaves PS1 at the wanted angle: the point of contact is FH1, the
ends of the symphysis' long axis are PS1 and PS2, and no landmark is read off pixels. Sizes and places follow the
spread measured on the PSFHS outlines. Lengths are millimetres in the frame coordinates of ``devices``.
"""

from __future__ import annotations

import math

import attrs
import numpy as np

from aop_pose.errors import UsageError
from aop_pose.phantom.devices import Device, Fan

AOP_RANGE = (60.0, 180.0)
CANDIDATES = 256
BATCHES = 2000


@attrs.frozen
class Ellipse:
    """Centre, half axes and tilt; ``tilt`` turns the long axis from the x axis, in radians, y down."""

    x: float
    y: float
    long: float
    short: float
    tilt: float

    def local(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates along the long and the short axis."""
        c, s = math.cos(self.tilt), math.sin(self.tilt)
        dx, dy = x - self.x, y - self.y
        return c * dx + s * dy, c * dy - s * dx

    def level(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """1 on the outline, below inside, above outside."""
        u, v = self.local(x, y)
        return np.hypot(u / self.long, v / self.short)

    def outline(self, count: int = 720) -> np.ndarray:
        """Points on the outline, shape (count, 2)."""
        t = np.linspace(0.0, 2 * np.pi, count, endpoint=False)
        x, y = _outlines(*(np.array([value]) for value in attrs.astuple(self)), t)
        return np.stack([x[0], y[0]], axis=1)


@attrs.frozen
class Anatomy:
    """Two outlines and the landmarks that follow from them."""

    symphysis: Ellipse
    head: Ellipse
    points: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    """PS1, PS2, FH1."""
    aop_deg: float


def draw_anatomy(rng: np.random.Generator, device: Device, fan: Fan, aop_deg: float) -> Anatomy:
    """A symphysis and a head that fit the fan and subtend ``aop_deg``, by rejection from the measured spread.

    Raises UsageError where no anatomy fits (an angle outside 60-180 degrees).
    """
    low, high = AOP_RANGE
    if not low <= aop_deg <= high:
        raise UsageError(f"phantom: expected an angle of {low:.0f} to {high:.0f} degrees, found {aop_deg:g}")
    for _ in range(BATCHES):
        found = _first_that_fits(rng, device, fan, aop_deg)
        if found is not None:
            return found
    raise UsageError(
        f"phantom: no anatomy with {aop_deg:g} degrees fits device {device.name}: ask another angle"
    )


def _outlines(x, y, long, short, tilt, t) -> tuple[np.ndarray, np.ndarray]:
    """Outline points of n ellipses, two arrays of shape (n, len(t))."""
    u, v = long[:, None] * np.cos(t), short[:, None] * np.sin(t)
    c, s = np.cos(tilt)[:, None], np.sin(tilt)[:, None]
    return x[:, None] + c * u - s * v, y[:, None] + s * u + c * v


def _levels(x, y, ellipses) -> np.ndarray:
    """Level of the points (n, k) in n ellipses, row by row."""
    cx, cy, long, short, tilt = (value[:, None] for value in ellipses)
    dx, dy = x - cx, y - cy
    c, s = np.cos(tilt), np.sin(tilt)
    return np.hypot((c * dx + s * dy) / long, (c * dy - s * dx) / short)


def _first_that_fits(rng: np.random.Generator, device: Device, fan: Fan, aop_deg: float) -> Anatomy | None:
    n, skin = CANDIDATES, fan.apex_y + fan.near
    # Symphysis: long axis about 42 mm, PS2 to the left of PS1 and usually lower.
    long, ratio = rng.normal(20.8, 2.2, n), np.clip(rng.normal(0.53, 0.06, n), 0.38, 0.68)
    towards_ps2 = np.radians(rng.normal(167.0, 12.0, n))
    ps = (
        fan.apex_x + rng.normal(device.symphysis_x_mm, 7.0, n),
        skin + rng.normal(18.0, 4.0, n),
        long,
        long * ratio,
        towards_ps2,
    )
    ps1 = ps[0] - long * np.cos(towards_ps2), ps[1] - long * np.sin(towards_ps2)
    ps2 = ps[0] + long * np.cos(towards_ps2), ps[1] + long * np.sin(towards_ps2)
    # Head: placed where its support point in the direction of the normal lies on the tangent ray.
    short = rng.normal(39.0, 3.5, n)
    head_long, head_tilt = (
        short * rng.normal(1.22, 0.07, n).clip(1.05, 1.45),
        np.radians(rng.normal(98.0, 14.0, n)),
    )
    ray = towards_ps2 - math.radians(aop_deg)
    reach = rng.uniform(18.0, 85.0, n)
    fh1 = ps1[0] + reach * np.cos(ray), ps1[1] + reach * np.sin(ray)
    along = head_long * np.sin(ray - head_tilt), -short * np.cos(ray - head_tilt)
    size = np.hypot(*along)
    u, v = head_long * along[0] / size, short * along[1] / size
    c, s = np.cos(head_tilt), np.sin(head_tilt)
    head = (fh1[0] - (c * u - s * v), fh1[1] - (s * u + c * v), head_long, short, head_tilt)

    t = np.linspace(0.0, 2 * np.pi, 36, endpoint=False)
    hx, hy = _outlines(*head, t)
    px, py = _outlines(*ps, t)
    turn = np.degrees(
        (towards_ps2[:, None] - np.arctan2(hy - ps1[1][:, None], hx - ps1[0][:, None])) % (2 * np.pi)
    )
    gap = np.hypot(hx - ps1[0][:, None], hy - ps1[1][:, None]).min(axis=1)
    fits = (
        fan.contains(px, py, margin=-1.0).all(axis=1)
        & (fan.to_polar(px, py)[0] > fan.near + 4.0).all(axis=1)
        & fan.contains(*ps1, margin=3.0)
        & fan.contains(*ps2, margin=1.0)
        & fan.contains(*fh1, margin=2.0)
        & (fan.contains(hx, hy).mean(axis=1) > 0.72)
        & (fan.to_polar(hx, hy)[0] > fan.near + 8.0).all(axis=1)
        & ((hx > 1.0) & (hx < fan.width_mm - 1.0) & (hy < fan.width_mm - 1.0)).all(axis=1)
        & (_levels(px, py, head) > 1.04).all(axis=1)
        & (_levels(hx, hy, ps) > 1.04).all(axis=1)
        & (turn > 2.0).all(axis=1)
        & (turn < aop_deg + 1.0).all(axis=1)
        & (gap < 45.0)
    )
    if not fits.any():
        return None
    i = int(np.argmax(fits))
    return Anatomy(
        symphysis=Ellipse(*(float(value[i]) for value in ps)),
        head=Ellipse(*(float(value[i]) for value in head)),
        points=tuple((float(p[0][i]), float(p[1][i])) for p in (ps1, ps2, fh1)),  # type: ignore[arg-type]
        aop_deg=float(aop_deg),
    )
