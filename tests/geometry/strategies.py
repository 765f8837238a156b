"""What several geometry tests draw from."""

import cv2
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from aop_pose import geometry

# The same examples in every run, and none remembered on disk.
reproducible = settings(deadline=None, derandomize=True, database=None, max_examples=100)

coordinate = st.floats(-500, 500, allow_nan=False).map(lambda value: round(value, 3))
point = st.tuples(coordinate, coordinate).map(np.array)


def movement(turn: float, scale: float, mirror: bool) -> np.ndarray:
    """Matrix that mirrors left and right if asked, then turns by radians and scales."""
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return scale * rotation @ np.diag([-1.0 if mirror else 1.0, 1.0])


@st.composite
def head_outlines(draw: st.DrawFn) -> np.ndarray:
    """Outline of an ellipse drawn in pixels, clear of the origin."""
    axes = draw(st.tuples(st.integers(3, 40), st.integers(3, 40)))
    centre = draw(st.tuples(st.integers(60, 120), st.integers(60, 120)))
    picture = np.zeros((180, 180), np.uint8)
    cv2.ellipse(picture, centre, axes, draw(st.integers(0, 179)), 0, 360, 1, -1)
    return geometry.largest_contour(picture)
