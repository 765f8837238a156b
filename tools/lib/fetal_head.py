"""A fetal head in its water as EPI shows it, crudely, with exact points: for pictures and tests, never for figures."""

from __future__ import annotations

import numpy as np

from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import FETAL_FACE
from aop_pose.inference.grid import random_rotation

SPACING = np.array([3.0, 3.0, 3.0])
SHAPE = (100, 100, 72)
EYES_APART_MM, TO_EYES_MM = 34.0, 44.0
"""Between the middles of the eyes, and from the middle of the brain to between them: as in 31 scans."""


def fetal_head(
    seed: int, spacing: np.ndarray = SPACING, shape: tuple[int, int, int] = SHAPE, head: bool = True
) -> tuple[Volume, Keypoints]:
    """A scan of 300 x 300 x 216 mm: a mother's tissue, water, trunk and head of a fetus in some direction.

    Returns the volume and its points, in voxels; without ``head`` where they would be.
    """
    draw = np.random.default_rng([seed, 3])
    axes = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1) * spacing
    middle = (np.array(shape) - 1) * spacing / 2
    turn = random_rotation(draw)
    centre = middle + turn.T @ np.array([0.0, 0.0, 35.0]) + draw.uniform(-5, 5, 3)
    places = (axes - centre) @ turn.T

    def ball(at: tuple[float, float, float], half: tuple[float, float, float], soft: float = 2.0) -> np.ndarray:
        """1 inside of an ellipsoid of the head's own axes (right, front, crown), 0 outside, over ``soft`` mm."""
        off = np.sqrt((((places - at) / half) ** 2).sum(axis=-1))
        return np.clip(0.5 + (1 - off) * min(half) / soft, 0, 1)

    def put(values: np.ndarray, share: np.ndarray, level: float | np.ndarray) -> np.ndarray:
        return values + share * (level - values)

    grain = sum(
        np.sin(places @ draw.normal(0, 0.12, 3) + draw.uniform(0, 6)) for _ in range(12)
    ) / 12  # fmt: skip
    values = 0.18 + 0.08 * grain
    values = put(values, ball((0, 0, -35), (95, 85, 125), 6.0), 0.9)
    values = put(values, ball((0, -8, -105), (38, 40, 62)), 0.35 + 0.15 * grain)
    face = np.array([0.0, np.sqrt(TO_EYES_MM**2 - 20.0**2), -20.0])
    eyes = [face + np.array([side * EYES_APART_MM / 2, 0, 0]) for side in (-1.0, 1.0)]
    if head:
        values = put(values, ball((0, 3, -2), (45, 55, 46)), 0.3)
        values = put(values, ball((0, 0, 0), (40, 50, 40)), 0.12)
        values = put(values, ball((0, 0, 0), (37, 47, 37)), 0.5 + 0.08 * grain)
        for side in (-1.0, 1.0):
            values = put(values, ball((side * 9, 4, 4), (3, 16, 4)), 0.75)
        values = put(values, ball((0, 34, -28), (30, 20, 26)), 0.32)
        for eye in eyes:
            values = put(values, ball((float(eye[0]), float(eye[1]), float(eye[2])), (8, 8, 8)), 1.0)
    # The coil lies on the mother's belly.
    coil = np.exp(-axes[..., 1] / 260)
    values = np.clip(values * coil + draw.normal(0, 0.015, shape), 0, None)
    points = (np.array([np.zeros(3), *eyes]) @ turn + centre) / spacing
    affine = np.diag([*spacing, 1.0])
    return Volume(values.astype(np.float32), affine, f"phantom-{seed}"), Keypoints.from_points(FETAL_FACE, points)
