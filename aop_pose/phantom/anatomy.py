"""The places of symphysis and head, so that the angle of progression is exactly the one asked for.

The head is an ellipse placed to touch the ray that leaves PS1 at the wanted angle: the point of contact is
FH1, the ends of the symphysis' long axis are PS1 and PS2, and no landmark is read off pixels. Sizes and
places follow the spread measured on the PSFHS outlines. Lengths are millimetres in the coordinates of
``devices``.
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

Points = tuple[np.ndarray, np.ndarray]
"""x and y."""


@attrs.frozen(eq=False)
class Ellipses:
    """Centre, half axes and tilt of n ellipses, arrays of shape (n,); the tilt is that of the long axis."""

    x: np.ndarray
    y: np.ndarray
    long: np.ndarray
    short: np.ndarray
    tilt: np.ndarray

    def outlines(self, count: int) -> Points:
        """Points on the outlines, two arrays of shape (n, count)."""
        t = np.linspace(0.0, 2 * np.pi, count, endpoint=False)
        u, v = self.long[:, None] * np.cos(t), self.short[:, None] * np.sin(t)
        c, s = np.cos(self.tilt)[:, None], np.sin(self.tilt)[:, None]
        return self.x[:, None] + c * u - s * v, self.y[:, None] + s * u + c * v

    def levels(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """1 on an outline, below inside; for points of shape (n, k), row by row."""
        dx, dy = x - self.x[:, None], y - self.y[:, None]
        c, s = np.cos(self.tilt)[:, None], np.sin(self.tilt)[:, None]
        return np.hypot((c * dx + s * dy) / self.long[:, None], (c * dy - s * dx) / self.short[:, None])

    def __getitem__(self, i: int) -> Ellipse:
        return Ellipse(*(float(values[i]) for values in (self.x, self.y, self.long, self.short, self.tilt)))


@attrs.frozen
class Ellipse:
    """Centre, half axes in mm, and the angle of the long axis from the x axis in radians, y down."""

    x: float
    y: float
    long: float
    short: float
    tilt: float

    def local(self, x: np.ndarray, y: np.ndarray) -> Points:
        """Coordinates in mm along the long and the short axis."""
        c, s = math.cos(self.tilt), math.sin(self.tilt)
        dx, dy = x - self.x, y - self.y
        return c * dx + s * dy, c * dy - s * dx

    def level(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """1 on the outline, below inside, above outside."""
        u, v = self.local(x, y)
        return np.hypot(u / self.long, v / self.short)


@attrs.frozen
class Anatomy:
    """Two outlines and the landmarks that follow from them."""

    symphysis: Ellipse
    head: Ellipse
    points: tuple[tuple[float, float], ...]
    """PS1, PS2, FH1."""


def draw_anatomy(rng: np.random.Generator, device: Device, fan: Fan, aop_deg: float) -> Anatomy:
    """A symphysis and a head that fit the fan and subtend ``aop_deg``, by rejection from the measured spread.

    Raises UsageError for an angle outside 60-180 degrees.
    """
    low, high = AOP_RANGE
    if not low <= aop_deg <= high:
        raise UsageError(f"phantom: expected an angle of {low:.0f} to {high:.0f} degrees, found {aop_deg:g}")
    for _ in range(BATCHES):
        symphysis = _symphyses(rng, device, fan)
        head, fh1 = _heads(rng, symphysis, math.radians(aop_deg))
        ps1, ps2 = _ends(symphysis)
        fits = _symphysis_fits(fan, symphysis) & _head_fits(fan, symphysis, head, fh1, aop_deg)
        if fits.any():
            i = int(np.argmax(fits))
            points = tuple((float(p[0][i]), float(p[1][i])) for p in (ps1, ps2, fh1))
            return Anatomy(symphysis=symphysis[i], head=head[i], points=points)
    raise UsageError(f"phantom: no anatomy of {aop_deg:g} degrees fits device {device.name}: ask another angle")


def _ends(symphysis: Ellipses) -> tuple[Points, Points]:
    """PS1 and PS2; the tilt points from PS1 to PS2."""
    dx, dy = symphysis.long * np.cos(symphysis.tilt), symphysis.long * np.sin(symphysis.tilt)
    return (symphysis.x - dx, symphysis.y - dy), (symphysis.x + dx, symphysis.y + dy)


def _symphyses(rng: np.random.Generator, device: Device, fan: Fan) -> Ellipses:
    """Long axis about 42 mm, PS2 left of PS1 and usually lower."""
    n, skin = CANDIDATES, fan.apex_y + fan.near
    long = rng.normal(20.8, 2.2, n)
    return Ellipses(
        x=fan.apex_x + rng.normal(device.symphysis_x_mm, 7.0, n),
        y=skin + rng.normal(18.0, 4.0, n),
        long=long,
        short=long * rng.normal(0.53, 0.06, n).clip(0.38, 0.68),
        tilt=np.radians(rng.normal(167.0, 12.0, n)),
    )


def _heads(rng: np.random.Generator, symphysis: Ellipses, aop: float) -> tuple[Ellipses, Points]:
    """Heads that touch the ray at ``aop`` radians from PS1-PS2, and where they touch it."""
    n = CANDIDATES
    short = rng.normal(39.0, 3.5, n)
    long = short * rng.normal(1.22, 0.07, n).clip(1.05, 1.45)
    tilt = np.radians(rng.normal(98.0, 14.0, n))
    reach = rng.uniform(18.0, 85.0, n)
    ray = symphysis.tilt - aop
    (x1, y1), _ = _ends(symphysis)
    fh1 = x1 + reach * np.cos(ray), y1 + reach * np.sin(ray)
    # The support point of the ellipse in the direction of the ray's outer normal, (sin ray, -cos ray).
    along, beside = long * np.sin(ray - tilt), -short * np.cos(ray - tilt)
    size = np.hypot(along, beside)
    u, v = long * along / size, short * beside / size
    c, s = np.cos(tilt), np.sin(tilt)
    return Ellipses(fh1[0] - (c * u - s * v), fh1[1] - (s * u + c * v), long, short, tilt), fh1


def _symphysis_fits(fan: Fan, symphysis: Ellipses) -> np.ndarray:
    x, y = symphysis.outlines(36)
    ps1, ps2 = _ends(symphysis)
    below_skin = fan.to_polar(x, y)[0] > fan.near + 4.0
    visible = fan.contains(x, y, margin=-1.0) & below_skin
    return visible.all(axis=1) & fan.contains(*ps1, margin=3.0) & fan.contains(*ps2, margin=1.0)


def _head_fits(fan: Fan, symphysis: Ellipses, head: Ellipses, fh1: Points, aop_deg: float) -> np.ndarray:
    x, y = head.outlines(36)
    (x1, y1), _ = _ends(symphysis)
    dx, dy = x - x1[:, None], y - y1[:, None]
    turn = np.degrees((symphysis.tilt[:, None] - np.arctan2(dy, dx)) % (2 * np.pi))
    # The whole head lies between the two rays, so that no other point of it turns further than FH1.
    between = (turn > 2.0) & (turn < aop_deg + 1.0)
    in_frame = (x > 1.0) & (x < fan.width_mm - 1.0) & (y < fan.width_mm - 1.0)
    below_skin = fan.to_polar(x, y)[0] > fan.near + 8.0
    apart = (symphysis.levels(x, y) > 1.04) & (head.levels(*symphysis.outlines(36)) > 1.04)
    descended = np.hypot(dx, dy).min(axis=1) < 45.0
    mostly_seen = fan.contains(x, y).mean(axis=1) > 0.72
    whole = (between & in_frame & below_skin & apart).all(axis=1)
    return whole & descended & mostly_seen & fan.contains(*fh1, margin=2.0)
