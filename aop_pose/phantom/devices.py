"""Three made-up scanners: the shape of the fan, the pulse, the gain and the gray map of each.

The fans follow the three layouts seen most among the PSFHS frames (Chen et al., Scientific Data 2024): two
convex-probe fans of different opening angle, and a deeper, hazier one that is cut flat at the bottom. Lengths
are millimetres; frame coordinates start at the top-left corner of the top-left pixel, so that they do not
depend on the number of pixels; y runs down.
"""

from __future__ import annotations

import math
from typing import Literal

import attrs
import numpy as np


@attrs.frozen
class Fan:
    """The region that a convex probe insonifies, placed in a square frame."""

    width_mm: float
    """Side of the square frame."""
    apex_x: float
    apex_y: float
    """The point where the beams would meet; above the frame for a convex probe."""
    near: float
    """Distance from the apex to the skin."""
    far: float
    """Distance from the apex to the deepest echo."""
    half_angle: float
    """Radians between the middle beam and the last one."""
    floor: float
    """The picture is cut below this y."""

    def to_polar(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance from the apex in mm and angle from the middle beam in radians, right positive."""
        dx, dy = x - self.apex_x, y - self.apex_y
        return np.hypot(dx, dy), np.arctan2(dx, dy)

    def to_frame(self, radius: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x, y in mm of points given by radius and angle."""
        return self.apex_x + radius * np.sin(angle), self.apex_y + radius * np.cos(angle)

    def contains(self, x: np.ndarray, y: np.ndarray, margin: float = 0.0) -> np.ndarray:
        """True inside the visible fan, at least ``margin`` mm from its sides and from the frame."""
        radius, angle = self.to_polar(x, y)
        side = (self.half_angle - np.abs(angle)) * radius
        inside = (radius >= self.near + margin) & (radius <= self.far - margin) & (side >= margin)
        across = (x >= margin) & (x <= self.width_mm - margin)
        return inside & across & (y >= margin) & (y <= self.floor - margin)


@attrs.frozen
class Device:
    """A scanner: all that it does to an anatomy. Fractions are of the frame's side."""

    name: str
    width_mm: float
    """Side of the square frame: the depth setting."""
    skin: float
    """y of the skin under the middle beam."""
    bottom: float
    """y of the deepest echo under the middle beam."""
    floor: float
    """The picture is cut flat below this y."""
    near_mm: float
    """Radius of the probe's surface."""
    half_angle_deg: float
    symphysis_x_mm: float
    """Usual place of the symphysis, right of the middle beam."""
    axial_mm: float
    """Standard deviation of the pulse along the beam."""
    lateral_deg: float
    """Standard deviation of the beam across, constant in angle as for a dynamically focused probe."""
    looks: int
    """Independent views that are compounded into one picture."""
    dynamic_range_db: float
    gain_db: tuple[float, ...]
    """Residual gain at equal steps from the skin to the deepest echo, after depth compensation."""
    noise_db: tuple[float, ...]
    """Level of the receiver's noise at the same steps: depth gain lifts it with the echoes."""
    haze_db: tuple[float, ...]
    """Level of the smooth clutter at the same steps."""
    gamma: float
    """Exponent of the gray map; above 1 darkens the middle grays."""
    contrast: float
    """Spread between bright and dark tissue, as a factor."""
    border: Literal["bar", "line"]
    """The drawing around the fan: a gray bar and depth ticks, or a thin line and a probe mark."""

    def fan(self, rng: np.random.Generator) -> Fan:
        """The fan at a depth setting, opening and place that vary a little from frame to frame."""
        width = self.width_mm * rng.uniform(0.94, 1.08)
        near = self.near_mm * rng.uniform(0.96, 1.04)
        skin = (self.skin + rng.uniform(-0.008, 0.008)) * width
        return Fan(
            width_mm=width,
            apex_x=(0.495 + rng.uniform(-0.01, 0.01)) * width,
            apex_y=skin - near,
            near=near,
            far=near - skin + self.bottom * width,
            half_angle=math.radians(self.half_angle_deg + rng.uniform(-0.4, 0.4)),
            floor=self.floor * width,
        )


DEVICES = {
    device.name: device
    for device in (
        Device(
            name="wide",
            width_mm=166.0,
            skin=0.062,
            bottom=0.887,
            floor=1.0,
            near_mm=44.0,
            half_angle_deg=34.7,
            symphysis_x_mm=-18.0,
            axial_mm=0.28,
            lateral_deg=0.33,
            looks=2,
            dynamic_range_db=62.0,
            gain_db=(0.0, 5.0, 4.0, 2.0, -1.0),
            noise_db=(-72.0, -64.0, -60.0, -57.0, -55.0),
            haze_db=(-90.0, -62.0, -60.0, -60.0, -60.0),
            gamma=1.65,
            contrast=1.1,
            border="bar",
        ),
        Device(
            name="narrow",
            width_mm=166.0,
            skin=0.062,
            bottom=0.887,
            floor=1.0,
            near_mm=44.0,
            half_angle_deg=25.3,
            symphysis_x_mm=-12.0,
            axial_mm=0.20,
            lateral_deg=0.27,
            looks=3,
            dynamic_range_db=62.0,
            gain_db=(0.0, 7.0, 7.0, 7.0, 5.0),
            noise_db=(-72.0, -62.0, -57.0, -53.5, -51.5),
            haze_db=(-90.0, -60.0, -58.0, -58.0, -58.0),
            gamma=1.55,
            contrast=1.1,
            border="bar",
        ),
        Device(
            name="hazy",
            width_mm=205.0,
            skin=0.041,
            bottom=0.985,
            floor=0.93,
            near_mm=60.0,
            half_angle_deg=24.4,
            symphysis_x_mm=-2.0,
            axial_mm=0.22,
            lateral_deg=0.34,
            looks=4,
            dynamic_range_db=66.0,
            gain_db=(2.0, 3.0, 2.0, 2.0, -4.0),
            noise_db=(-74.0, -67.0, -62.0, -61.0, -67.0),
            haze_db=(-90.0, -66.0, -59.0, -59.0, -68.0),
            gamma=1.75,
            contrast=0.9,
            border="line",
        ),
    )
}
