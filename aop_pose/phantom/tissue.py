"""Tissue: the strength with which each point of the fan scatters, reflects and attenuates.

Everything is computed on the beam grid (samples along the beam, beams), in decibels against an arbitrary
full scale; lengths are millimetres. Bone reflects where the beam meets it squarely and swallows the rest:
this gives the bright arcs of the skull and the shadows behind skull and symphysis without drawing either by
hand. The ranges are fitted by eye and to ``tools/lib/realism.py`` of PSFHS frames; they are not physics.
"""

from __future__ import annotations

import math

import attrs
import cv2
import numpy as np

from aop_pose.phantom.anatomy import Anatomy, Ellipse
from aop_pose.phantom.devices import Device, Fan

Cells = tuple[int, int]


def clouds(rng: np.random.Generator, shape: tuple[int, int], cells: Cells, octaves: int = 1) -> np.ndarray:
    """Noise of unit spread, float32 of ``shape``, with about ``cells`` blobs down and across.

    Each further octave is twice as fine and 0.6 times as strong.
    """
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        size = (max(2, cells[0] << octave), max(2, cells[1] << octave))
        coarse = rng.standard_normal(size, dtype=np.float32)
        total += np.float32(0.6**octave) * np.asarray(
            cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32
        )
    return total / np.float32(max(float(total.std()), 1e-6))


def strokes(rng: np.random.Generator, shape: tuple[int, int], cells: Cells, rarity: float) -> np.ndarray:
    """Sparse short lines across the beam, 0 to 1.5: what of clouds exceeds ``rarity`` spreads."""
    return np.clip(clouds(rng, shape, cells, 2) - rarity, 0, 1.5)


def stripes(rng: np.random.Generator, across: np.ndarray, along: np.ndarray, thickness: float) -> np.ndarray:
    """Fibres of about unit spread that follow lines of constant ``across`` and break up the other way.

    across: mm, any range. along: 0 to 1 from the first to the last beam. thickness: mm.
    """
    bend = clouds(rng, across.shape, (5, 6), 2)
    texture = clouds(rng, (512, 64), (512, 22))
    row = np.mod((across + 2.0 * bend) / thickness + 128.0, 511.0)
    column = (along + 0.02 * bend) * 63.0
    return cv2.remap(
        texture,
        column.astype(np.float32),
        row.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )


def planes(rng: np.random.Generator, across: np.ndarray, along: np.ndarray, count: int) -> np.ndarray:
    """Thin wavy lines at ``count`` depths of ``across`` (mm), 0 to 1 each, short in ``along`` (0 to 1)."""
    lines = np.zeros(across.shape, np.float32)
    for _ in range(count):
        wave = clouds(rng, (1, across.shape[1]), (1, 5), 2)
        middle, reach = rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.35)
        line = across + 1.8 * wave - rng.uniform(5.0, 38.0)
        lines += bump(line, rng.uniform(0.4, 0.9)) * bump(along - middle, reach)
    return lines


def bump(distance: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """exp(-(distance / width)^2)."""
    return np.exp(-np.square(distance / width))


MIDDLE_DB = -22.0
"""Level that a device's contrast leaves alone."""


@attrs.frozen(eq=False)
class BeamGrid:
    """The samples of every beam and where they lie in the frame."""

    radius: np.ndarray
    """mm from the apex, shape (samples, 1)."""
    angle: np.ndarray
    """Radians from the middle beam, shape (1, beams)."""
    x: np.ndarray
    """mm in the frame, shape (samples, beams)."""
    y: np.ndarray
    step: float
    """mm between samples of a beam."""

    @classmethod
    def of(cls, fan: Fan, samples: int, beams: int) -> BeamGrid:
        """A grid that spans the fan from skin to deepest echo, first to last beam."""
        radius = np.linspace(fan.near, fan.far, samples, dtype=np.float32)[:, None]
        angle = np.linspace(-fan.half_angle, fan.half_angle, beams, dtype=np.float32)[None, :]
        x, y = fan.to_frame(radius, angle)
        return cls(radius=radius, angle=angle, x=x, y=y, step=(fan.far - fan.near) / (samples - 1))


@attrs.frozen(eq=False)
class Tissue:
    """The properties that the pulse meets; arrays of shape (samples, beams)."""

    scatter_db: np.ndarray
    """Level of the diffuse scatterers."""
    mirror: np.ndarray
    """Amplitude of smooth interfaces, 1 = 0 dB."""
    loss_db: np.ndarray
    """The loss of the pulse on its way there and back, beyond what depth compensation restores."""


@attrs.frozen(eq=False)
class _Layers:
    """A Tissue being built; the parts of the anatomy change the arrays in place."""

    db: np.ndarray
    mirror: np.ndarray
    loss: np.ndarray
    """dB per sample, not yet summed down the beam."""


@attrs.frozen(eq=False)
class _Shell:
    """A grid seen from an outline."""

    level: np.ndarray
    """0 in the centre, 1 on the outline."""
    distance: np.ndarray
    """mm to the outline, to first order; negative inside."""
    cosine: np.ndarray
    """Of the angle between beam and outward normal: -1 where the beam enters squarely, 1 where it leaves."""
    long: np.ndarray
    """Place along the long axis, -1 to 1 inside."""
    short: np.ndarray

    @classmethod
    def of(cls, grid: BeamGrid, ellipse: Ellipse) -> _Shell:
        u, v = ellipse.local(grid.x, grid.y)
        u, v = u / ellipse.long, v / ellipse.short
        level = np.maximum(np.hypot(u, v), 1e-3)
        gu, gv = u / ellipse.long / level, v / ellipse.short / level
        slope = np.maximum(np.hypot(gu, gv), 1e-6)
        c, s = math.cos(ellipse.tilt), math.sin(ellipse.tilt)
        normal_x, normal_y = (c * gu - s * gv) / slope, (s * gu + c * gv) / slope
        cosine = np.sin(grid.angle) * normal_x + np.cos(grid.angle) * normal_y
        return cls(level=level, distance=(level - 1) / slope, cosine=cosine, long=u, short=v)

    def inside(self, softness: float) -> np.ndarray:
        """1 inside, 0 outside, over ``softness`` mm."""
        return np.clip(0.5 - self.distance / softness, 0, 1)


def build_tissue(rng: np.random.Generator, device: Device, fan: Fan, grid: BeamGrid, anatomy: Anatomy | None) -> Tissue:
    """Maternal layers, bladder, symphysis, head and clutter of one frame; layers and clutter alone without anatomy."""
    ellipse = _far_below(fan) if anatomy is None else anatomy.head
    head = _Shell.of(grid, ellipse)
    layers = _maternal(rng, fan, grid, ellipse, head)
    if anatomy is not None:
        _bladder(rng, grid, anatomy, head, layers)
        _symphysis(rng, grid, _Shell.of(grid, anatomy.symphysis), layers)
        _head(rng, grid, anatomy.head, head, layers)
    _clutter(rng, fan, grid, layers)
    _lost_contact(rng, fan, grid, layers)
    lost = np.cumsum(layers.loss, axis=0, dtype=np.float32)
    # A beam is not a line: shadows have soft sides.
    lost = np.asarray(cv2.GaussianBlur(lost, (0, 0), sigmaX=grid.x.shape[1] / 110.0, sigmaY=0.8))
    scatter = MIDDLE_DB + (layers.db - MIDDLE_DB) * device.contrast
    return Tissue(scatter_db=scatter, mirror=layers.mirror, loss_db=lost)


def _far_below(fan: Fan) -> Ellipse:
    """A head so far below the picture that no layer bends around it."""
    return Ellipse(fan.apex_x, fan.apex_y + 10 * fan.far, 50.0, 40.0, 0.0)


def _maternal(rng: np.random.Generator, fan: Fan, grid: BeamGrid, ellipse: Ellipse, head: _Shell) -> _Layers:
    shape = grid.x.shape
    depth = grid.radius - fan.near
    db = rng.uniform(-35, -26) + rng.uniform(3, 6) * clouds(rng, shape, (5, 6), 3)
    # Layers run parallel to the probe near the skin and wrap the head near the head.
    hug = np.exp(-np.clip(head.distance, 0, None) / 9.0)
    across = depth * (1 - hug) - np.clip(head.distance, -5, None) * hug
    along = np.broadcast_to(grid.angle / (2 * fan.half_angle) + 0.5, shape)
    fibres = stripes(rng, across, along, rng.uniform(0.8, 1.5))
    fibres *= (0.45 + 0.55 * np.exp(-depth / 60.0)) * (0.75 + 0.3 * clouds(rng, shape, (4, 4)))
    db += rng.uniform(3.5, 7.0) * fibres
    db += rng.uniform(6, 20) * planes(rng, across, along, int(rng.integers(2, 7)))
    db += 8.0 * bump(depth - 1.0, 1.2) - rng.uniform(0, 12) * bump(depth - rng.uniform(3.0, 6.0), 2.5)
    # Fascia and gas: glints, mostly in the first third.
    shallow = 0.25 + 0.75 * bump(depth, 55.0)
    db += rng.uniform(8, 22) * shallow * strokes(rng, shape, (60, 9), rng.uniform(0.9, 1.7))
    # Perineal and rectal tissue right of the head is the brightest; left of it the pelvis fades.
    beside = (grid.x - ellipse.x - (grid.y - ellipse.y) * 0.1) / ellipse.short
    patches = 0.8 + 0.4 * clouds(rng, shape, (22, 5), 2) + 0.35 * clouds(rng, shape, (5, 5))
    db += rng.uniform(2, 28) * np.clip(beside - 0.45, 0, 0.8) * patches
    db -= rng.uniform(2, 16) * np.clip(-beside - 0.3, 0, 1.2) * np.clip(depth / 60.0, 0, 1)
    # Tissue pressed against the head is bright; behind the head little comes back.
    pressed = bump(head.distance - rng.uniform(2, 6), rng.uniform(2.0, 6.0)) * np.clip(0.6 - head.cosine, 0, 1)
    db += rng.uniform(2, 11) * pressed
    behind = np.clip((head.distance - 6) / 10, 0, 1) * np.clip(head.cosine * 2, 0, 1)
    db -= rng.uniform(4, 14) * behind
    loss = 0.02 * (1 + 0.8 * clouds(rng, shape, (3, 12)))
    # Bands of poor transmission start at the skin and run down whole beams.
    loss += rng.uniform(0.03, 0.10) * np.clip(clouds(rng, (1, shape[1]), (1, 9), 2), -0.5, 2.5)
    return _Layers(db=db, mirror=np.zeros(shape, np.float32), loss=loss * grid.step)


def _bladder(rng: np.random.Generator, grid: BeamGrid, anatomy: Anatomy, head: _Shell, layers: _Layers) -> None:
    """A nearly empty bladder in some frames: a dark lens between PS1 and the head."""
    size, flat = rng.uniform(6, 15), rng.uniform(0.22, 0.5)
    right, down, tilt = rng.uniform(-10, 10), rng.uniform(6, 12), rng.normal(0.1, 0.2)
    if rng.random() > 0.45:
        return
    x, y = anatomy.points[0]
    lens = _Shell.of(grid, Ellipse(x + right, y + down, size, size * flat, tilt))
    room = np.clip(head.distance, 0, 1)
    layers.db[:] -= 26.0 * lens.inside(1.0) * room
    layers.db[:] += 9.0 * bump(lens.distance - 1.0, 0.9) * np.clip(lens.cosine * 2, 0, 1) * room


def _symphysis(rng: np.random.Generator, grid: BeamGrid, shell: _Shell, layers: _Layers) -> None:
    """A ragged capsule, bright where the beam meets it squarely, a patchy disc, and a partial shadow."""
    shape = grid.x.shape
    inside = shell.inside(0.8)
    disc = rng.uniform(-30, -16) + rng.uniform(3, 6) * clouds(rng, shape, (50, 22), 2)
    # A bright crescent along the middle, strong in some frames and absent in others.
    bow = shell.short + rng.uniform(-0.3, 0.3) + rng.uniform(-0.35, 0.35) * np.square(shell.long)
    disc += rng.uniform(0, 16) * bump(bow, rng.uniform(0.2, 0.6)) * bump(shell.long, 0.65)
    disc += rng.uniform(4, 18) * strokes(rng, shape, (70, 18), rng.uniform(0.5, 1.5))
    disc -= rng.uniform(0, 9) * bump(shell.level - 0.85, 0.2)
    layers.db[:] += inside * (disc - layers.db)
    ragged = np.clip(0.6 + 0.6 * clouds(rng, shape, (20, 20), 2), 0.0, 1.8)
    rough = 0.35 * clouds(rng, shape, (30, 30))
    facing = 0.15 + 0.85 * np.square(shell.cosine)
    layers.db[:] += rng.uniform(2, 14) * bump(shell.distance + 0.4 + rough, 1.0) * facing * ragged
    glint = 10 ** (rng.uniform(-24, -6) / 20) * np.abs(shell.cosine) ** 3
    layers.mirror[:] += glint * bump(shell.distance + 0.3, 0.7) * ragged
    layers.loss[:] += grid.step * inside * rng.uniform(0.1, 1.6)


def _head(rng: np.random.Generator, grid: BeamGrid, ellipse: Ellipse, shell: _Shell, layers: _Layers) -> None:
    """Skull arcs near and far, a dark interior with faint lines of the brain, and the loss in bone."""
    shape = grid.x.shape
    inside = shell.inside(1.0)
    brain = rng.uniform(-48, -32) + 4.0 * clouds(rng, shape, (6, 6), 2) + 3.0 * clouds(rng, shape, (70, 14))
    folds = strokes(rng, shape, (56, 14), rng.uniform(1.2, 1.9)) * bump(shell.long - rng.uniform(-0.3, 0.4), 0.7)
    brain += rng.uniform(8, 24) * folds
    if rng.random() < 0.5:
        midline = (
            shell.long * ellipse.long - rng.uniform(-12, 12) - rng.uniform(-0.4, 0.4) * shell.short * ellipse.short
        )
        brain += rng.uniform(8, 24) * bump(midline, 0.9) * bump(shell.short, rng.uniform(0.25, 0.6))
    layers.db[:] += inside * (brain - layers.db)

    near = shell.cosine < 0
    steep = np.abs(shell.cosine)
    lit = np.where(near, steep ** rng.uniform(1.2, 3.0), steep ** rng.uniform(2.5, 6.0))
    thick = rng.uniform(0.9, 1.5) * (1.0 + 0.25 * clouds(rng, shape, (5, 8), 2)).clip(0.5, 1.8)
    rough = 0.4 * clouds(rng, shape, (24, 24), 2)
    band = bump(shell.distance + rough + thick * 0.6, thick)
    ragged = np.clip(0.85 + 0.5 * clouds(rng, shape, (8, 14), 3), 0.02, 1.5)
    strength = np.where(near, rng.uniform(16, 28), rng.uniform(16, 32))
    layers.db[:] += band * ragged * (strength * lit + rng.uniform(-4, 3))
    glint = np.where(near, 10 ** (rng.uniform(-6, 6) / 20), 10 ** (rng.uniform(-8, 8) / 20))
    layers.mirror[:] += band * lit * ragged * glint
    # A second line outside: scalp and membranes.
    if rng.random() < 0.5:
        line = bump(shell.distance - rng.uniform(2.5, 4.5), 0.9)
        layers.db[:] += rng.uniform(3, 9) * line * lit * near * ragged
    # The oblique path through bone is longer, so the sides of the head cast the darkest shadow.
    layers.loss[:] += grid.step * (rng.uniform(0.6, 2.2) * band + rng.uniform(0.0, 0.08) * inside)


def _clutter(rng: np.random.Generator, fan: Fan, grid: BeamGrid, layers: _Layers) -> None:
    """Bright patches anywhere, and in some frames rings of reverberation parallel to the probe."""
    for _ in range(int(rng.integers(1, 5))):
        radius, angle = rng.uniform(fan.near + 15, fan.far), rng.uniform(-1, 1) * fan.half_angle
        tall, wide = rng.uniform(2, 12), rng.uniform(0.03, 0.12)
        layers.db[:] += rng.uniform(4, 18) * bump(grid.radius - radius, tall) * bump(grid.angle - angle, wide)
    if rng.random() < 0.4:
        depth = grid.radius - fan.near
        layers.db[:] += 2.5 * np.cos(2 * np.pi * depth / rng.uniform(5, 12)) * np.exp(-depth / 50.0)


def _lost_contact(rng: np.random.Generator, fan: Fan, grid: BeamGrid, layers: _Layers) -> None:
    """In some frames the probe leaves the skin at one side, usually the left, and the outer beams go dark."""
    if rng.random() > 0.25:
        return
    side = -1.0 if rng.random() < 0.75 else 1.0
    beyond = np.clip((side * grid.angle / fan.half_angle - rng.uniform(0.55, 0.95)) * 4, 0, 1)
    layers.loss[:] += rng.uniform(0.4, 1.0) * grid.step * beyond
