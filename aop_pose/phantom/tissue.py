"""How strongly each point of the fan scatters, reflects and attenuates.

Everything is computed on the beam grid (samples along the beam, beams), in decibels below the brightest echo; lengths
are millimetres. Bone reflects where the beam meets it at a right angle and swallows the rest, which gives the bright
arcs of the skull and the shadows behind skull and symphysis without drawing either by hand.
"""

from __future__ import annotations

import math

import attrs
import cv2
import numpy as np

from aop_pose.phantom.anatomy import Anatomy, Ellipse
from aop_pose.phantom.devices import Device, Fan


@attrs.frozen(eq=False)
class BeamGrid:
    """The samples of every beam and where they lie in the frame, arrays of shape (samples, beams)."""

    radius: np.ndarray
    angle: np.ndarray
    x: np.ndarray
    y: np.ndarray
    step: float
    """mm between samples of a beam."""

    @classmethod
    def of(cls, fan: Fan, samples: int, beams: int) -> BeamGrid:
        """A grid that spans the fan from skin to deepest echo, first to last beam."""
        radius, step = np.linspace(fan.near, fan.far, samples, dtype=np.float32, retstep=True)
        angle = np.linspace(-fan.half_angle, fan.half_angle, beams, dtype=np.float32)
        x, y = fan.to_frame(radius[:, None], angle[None, :])
        return cls(radius=radius[:, None], angle=angle[None, :], x=x, y=y, step=float(step))


@attrs.frozen(eq=False)
class Tissue:
    """What the pulse meets, arrays of shape (samples, beams)."""

    scatter_db: np.ndarray
    """Level of the diffuse scatterers."""
    mirror: np.ndarray
    """Amplitude of smooth interfaces, 1 = 0 dB."""
    loss_db: np.ndarray
    """What the pulse has lost on its way there and back, beyond what depth compensation restores."""


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int], octaves: int = 1
) -> np.ndarray:
    """Noise of unit spread with about ``cells`` blobs down and across, finer octaves at half the strength each."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        size = (max(2, cells[0] << octave), max(2, cells[1] << octave))
        coarse = rng.standard_normal(size, dtype=np.float32)
        total += cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR) * 0.6**octave
    return total / max(float(total.std()), 1e-6)


def build_tissue(
    rng: np.random.Generator, device: Device, fan: Fan, grid: BeamGrid, anatomy: Anatomy
) -> Tissue:
    """Maternal layers, symphysis, head and what lies between them, for one frame."""
    shape = grid.x.shape
    db, loss, mirror = _maternal(rng, fan, grid, anatomy)
    _bladder(rng, grid, anatomy, db)
    _symphysis(rng, grid, anatomy.symphysis, db, mirror, loss)
    _head(rng, grid, anatomy.head, db, mirror, loss)
    _clutter(rng, fan, grid, db)
    # Contact: some frames lose the beams at one side, where the probe leaves the skin.
    if rng.random() < 0.35:
        side = rng.choice([-1.0, 1.0], p=[0.75, 0.25])
        edge = rng.uniform(0.55, 0.95)
        loss += (
            rng.uniform(8, 24)
            * grid.step
            / 20.0
            * np.clip((side * grid.angle / fan.half_angle - edge) * 4, 0, 1)
        )
    travelled = np.cumsum(loss, axis=0, dtype=np.float32)
    travelled = cv2.GaussianBlur(travelled, (0, 0), sigmaX=shape[1] / 110.0, sigmaY=0.8)
    return Tissue(
        scatter_db=db * device.contrast_db - 22.0 * (1 - device.contrast_db), mirror=mirror, loss_db=travelled
    )


def _bump(distance: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-np.square(distance / width, dtype=np.float32))


def _shell(grid: BeamGrid, ellipse: Ellipse) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Level, signed distance to the outline in mm (first order, negative inside), cosine of beam and outward normal."""
    u, v = ellipse.local(grid.x, grid.y)
    level = np.maximum(np.hypot(u / ellipse.long, v / ellipse.short), 1e-3)
    gu, gv = u / ellipse.long**2 / level, v / ellipse.short**2 / level
    slope = np.maximum(np.hypot(gu, gv), 1e-6)
    c, s = math.cos(ellipse.tilt), math.sin(ellipse.tilt)
    normal_x, normal_y = (c * gu - s * gv) / slope, (s * gu + c * gv) / slope
    cosine = np.sin(grid.angle) * normal_x + np.cos(grid.angle) * normal_y
    return level, (level - 1) / slope, cosine


def _fibres(rng: np.random.Generator, across: np.ndarray, along: np.ndarray, thickness: float) -> np.ndarray:
    """Stripes of unit spread that follow lines of constant ``across`` (mm) and break up along ``along`` (0-1)."""
    bend = smooth_noise(rng, across.shape, (5, 6), 2)
    texture = smooth_noise(rng, (512, 64), (512, 22))
    row = np.mod((across + 2.0 * bend) / thickness + 128.0, 511.0).astype(np.float32)
    column = ((along + 0.02 * bend) * 63.0).astype(np.float32)
    return cv2.remap(texture, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _strokes(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int], rarity: float
) -> np.ndarray:
    """Sparse short lines across the beam, 0-1.5; ``rarity`` in spreads of the noise that they are the peaks of."""
    return np.clip(smooth_noise(rng, shape, cells, 2) - rarity, 0, 1.5)


def _maternal(
    rng: np.random.Generator, fan: Fan, grid: BeamGrid, anatomy: Anatomy
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = grid.x.shape
    head = anatomy.head
    _, distance, cosine = _shell(grid, head)
    depth = grid.radius - fan.near
    db = rng.uniform(-35, -26) + rng.uniform(3, 6) * smooth_noise(rng, shape, (5, 6), 3)
    # Layers run parallel to the probe near the skin and wrap the head near the head.
    hug = np.exp(-np.clip(distance, 0, None) / 9.0)
    across = depth * (1 - hug) - np.clip(distance, -5, None) * hug
    along = grid.angle / (2 * fan.half_angle) + 0.5 + 0 * depth
    fibres = _fibres(rng, across, along, rng.uniform(0.8, 1.5))
    db += (
        rng.uniform(3.5, 7.0)
        * fibres
        * (0.45 + 0.55 * np.exp(-depth / 60.0))
        * (0.75 + 0.3 * smooth_noise(rng, shape, (4, 4)))
    )
    db += 8.0 * _bump(depth - 1.0, 1.2) - 12.0 * _bump(depth - rng.uniform(3.0, 6.0), 2.5) * rng.random()
    # Fascia and gas: glints, mostly in the first third.
    shallow = 0.25 + 0.75 * np.exp(-np.square(depth / 55.0))
    db += rng.uniform(8, 22) * shallow * _strokes(rng, shape, (60, 9), rng.uniform(0.9, 1.7))
    # Perineal and rectal tissue right of the head is the brightest; left of it the pelvis fades.
    beside = (grid.x - head.x - (grid.y - head.y) * 0.1) / head.short
    patches = 0.7 + 0.6 * smooth_noise(rng, shape, (6, 7), 3)
    db += rng.uniform(2, 28) * np.clip(beside - 0.45, 0, 0.8) * patches
    db -= rng.uniform(3, 22) * np.clip(-beside - 0.3, 0, 1.2) * np.clip(depth / 60.0, 0, 1)
    # A band of compressed tissue hugs the head where it meets the pelvic floor; behind the head little comes back.
    db += (
        rng.uniform(2, 11)
        * _bump(distance - rng.uniform(2, 6), rng.uniform(2.0, 6.0))
        * np.clip(0.6 - cosine, 0, 1)
    )
    db -= rng.uniform(4, 14) * np.clip((distance - 6) / 10, 0, 1) * np.clip(cosine * 2, 0, 1)
    loss = np.full(shape, 0.02 * grid.step, np.float32) * (1 + 0.8 * smooth_noise(rng, shape, (3, 12)))
    # Bands of poor transmission start at the skin and run down whole beams.
    loss += (
        grid.step * rng.uniform(0.03, 0.12) * np.clip(smooth_noise(rng, (1, shape[1]), (1, 9), 2), -0.5, 2.5)
    )
    return db.astype(np.float32), loss.astype(np.float32), np.zeros(shape, np.float32)


def _bladder(rng: np.random.Generator, grid: BeamGrid, anatomy: Anatomy, db: np.ndarray) -> None:
    """A nearly empty bladder: a dark lens behind PS1, over the head."""
    present, size, flat = rng.random() < 0.45, rng.uniform(6, 15), rng.uniform(0.22, 0.5)
    (x1, y1), _, _ = anatomy.points
    offset = rng.uniform(-10, 10), rng.uniform(6, 12)
    if not present:
        return
    lens = Ellipse(x1 + offset[0], y1 + offset[1], size, size * flat, rng.normal(0.1, 0.2))
    _, distance, cosine = _shell(grid, lens)
    outside_head = np.clip((anatomy.head.level(grid.x, grid.y) - 1) * 20, 0, 1)
    db -= 26.0 * np.clip(0.5 - distance, 0, 1) * outside_head
    db += 9.0 * _bump(distance - 1.0, 0.9) * np.clip(cosine * 2, 0, 1) * outside_head


def _symphysis(
    rng: np.random.Generator,
    grid: BeamGrid,
    ellipse: Ellipse,
    db: np.ndarray,
    mirror: np.ndarray,
    loss: np.ndarray,
) -> None:
    """A capsule that is bright where the beam meets it squarely, a patchy interior, a core, and a partial shadow."""
    shape = grid.x.shape
    level, distance, cosine = _shell(grid, ellipse)
    inside = np.clip(0.5 - distance / 0.8, 0, 1)
    patchy = rng.uniform(-30, -16) + rng.uniform(3, 6) * smooth_noise(rng, shape, (50, 22), 2)
    # The disc: a bright crescent in the middle of the ellipse in most frames.
    u, v = ellipse.local(grid.x, grid.y)
    bow = v / ellipse.short + rng.uniform(-0.3, 0.3) + rng.uniform(-0.35, 0.35) * np.square(u / ellipse.long)
    patchy += rng.uniform(0, 16) * _bump(bow, rng.uniform(0.2, 0.6)) * _bump(u / ellipse.long, 0.65)
    patchy += rng.uniform(4, 18) * _strokes(rng, shape, (70, 18), rng.uniform(0.5, 1.5))
    # A dark rim inside the capsule separates both.
    patchy -= rng.uniform(0, 9) * _bump(level - 0.85, 0.2)
    db += inside * (patchy - db)
    facing = 0.15 + 0.85 * np.square(cosine)
    ragged = np.clip(0.6 + 0.6 * smooth_noise(rng, shape, (20, 20), 2), 0.0, 1.8)
    db += (
        rng.uniform(2, 14)
        * _bump(distance + 0.4 + 0.35 * smooth_noise(rng, shape, (30, 30)), 1.0)
        * facing
        * ragged
    )
    mirror += 10 ** (rng.uniform(-24, -6) / 20) * _bump(distance + 0.3, 0.7) * np.abs(cosine) ** 3 * ragged
    loss += grid.step * inside * rng.uniform(0.1, 1.6)


def _head(
    rng: np.random.Generator,
    grid: BeamGrid,
    ellipse: Ellipse,
    db: np.ndarray,
    mirror: np.ndarray,
    loss: np.ndarray,
) -> None:
    """Skull arcs near and far, a dark interior with faint lines of the brain, and the loss of bone."""
    shape = grid.x.shape
    level, distance, cosine = _shell(grid, ellipse)
    inside = np.clip(0.5 - distance / 1.0, 0, 1)
    brain = (
        rng.uniform(-48, -32)
        + 4.0 * smooth_noise(rng, shape, (6, 6), 2)
        + 3.0 * smooth_noise(rng, shape, (70, 14))
    )
    u, v = ellipse.local(grid.x, grid.y)
    # Folds of the brain: short bright strokes across the beam.
    brain += (
        rng.uniform(8, 24)
        * _strokes(rng, shape, (56, 14), rng.uniform(1.2, 1.9))
        * _bump(u / ellipse.long - rng.uniform(-0.3, 0.4), 0.7)
    )
    if rng.random() < 0.5:
        slant, length = rng.uniform(-0.4, 0.4), rng.uniform(0.25, 0.6)
        brain += (
            rng.uniform(8, 24)
            * _bump(u - rng.uniform(-12, 12) - slant * v, 0.9)
            * _bump(v / ellipse.short, length)
        )
    db += inside * (brain - db)
    thick = rng.uniform(0.9, 1.5) * (1.0 + 0.25 * smooth_noise(rng, shape, (5, 8), 2)).clip(0.5, 1.8)
    ragged = np.clip(0.85 + 0.5 * smooth_noise(rng, shape, (8, 14), 3), 0.02, 1.5)
    near = cosine < 0
    lit = np.where(near, np.abs(cosine) ** rng.uniform(1.2, 3.0), np.abs(cosine) ** rng.uniform(2.5, 6.0))
    rough = 0.4 * smooth_noise(rng, shape, (24, 24), 2)
    band = _bump(distance + rough + thick * 0.6, thick)
    strength = np.where(near, rng.uniform(16, 28), rng.uniform(16, 32))
    db += band * ragged * (strength * lit + rng.uniform(-4, 3))
    mirror += (band * lit * ragged) * np.where(
        near, 10 ** (rng.uniform(-6, 6) / 20), 10 ** (rng.uniform(-8, 8) / 20)
    )
    # A second line outside: scalp and membranes.
    if rng.random() < 0.5:
        db += rng.uniform(3, 9) * _bump(distance - rng.uniform(2.5, 4.5), 0.9) * lit * near * ragged
    # Bone takes its toll; the oblique path through it is longer, so the sides cast the darkest shadow.
    loss += grid.step * rng.uniform(0.6, 2.2) * band
    loss += grid.step * inside * rng.uniform(0.0, 0.08)


def _clutter(rng: np.random.Generator, fan: Fan, grid: BeamGrid, db: np.ndarray) -> None:
    """Bright patches anywhere, and faint rings of reverberation between probe and interfaces."""
    for _ in range(int(rng.integers(1, 5))):
        radius, angle = rng.uniform(fan.near + 15, fan.far), rng.uniform(-1, 1) * fan.half_angle
        tall, wide = rng.uniform(2, 12), rng.uniform(0.03, 0.12)
        db += rng.uniform(4, 18) * _bump(grid.radius - radius, tall) * _bump(grid.angle - angle, wide)
    if rng.random() < 0.4:
        spacing = rng.uniform(5, 12)
        ring = np.cos(2 * np.pi * (grid.radius - fan.near) / spacing)
        db += 2.5 * ring * np.exp(-(grid.radius - fan.near) / 50.0)
