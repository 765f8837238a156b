"""Schema ``fetus``: the 22 points of FetusMapV2 (section 3.2), in a volume."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike

from aop_pose import geometry
from aop_pose.core.schema import Quantity, Schema, length

# The 22 points of FetusMapV2, in the order of the paper (section 3.2). It names 1 (cranial crest), 4 (nasal bone) and 6
# (hind neck) in equation 7, 11 and 14 as shoulders, elbows and wrists, and the legs likewise; 2, 3, 5 and 7-10 are
# named in a figure that is lost. These names are CHOSEN here, so that they fit what the text says of the points: all
# ten lie on head and trunk and have no side (equation 8), so they are taken from the midline; 2, 3 and 5, found with
# the smallest errors (table 2), from the skull; and crown-rump length needs the rump.
_TRUNK = (
    "cranial_crest",
    "forehead",
    "occiput",
    "nasal_bone",
    "chin",
    "hind_neck",
    "chest",
    "mid_back",
    "cord_insertion",
    "rump",
)
_ARM, _LEG = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")


def _side(side: str, limb: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{side}_{joint}" for joint in limb)


def _chain(*points: str) -> tuple[tuple[str, str], ...]:
    return tuple(itertools.pairwise(points))


def midsagittal_plane(points: ArrayLike) -> geometry.Plane:
    """The plane that parts the left of a fetus from its right, fitted to the points of head and trunk.

    All of them are taken from the midline. A fetus that turns its head has no such plane; then it is the plane nearest
    to them all.

    Args:
        points: (22, 3), x, y, z in mm; missing ones (NaN) are left aside.
    """
    return geometry.fit_plane(np.asarray(points, np.float64)[list(FETUS.indices(_TRUNK))])


FETUS = Schema(
    name="fetus",
    points=(*_TRUNK, *_side("left", _ARM), *_side("right", _ARM), *_side("left", _LEG), *_side("right", _LEG)),
    lines=(
        # The profile from the neck over the skull to the chin, the back and the front, then the limbs.
        *_chain("hind_neck", "occiput", "cranial_crest", "forehead", "nasal_bone", "chin"),
        *_chain("hind_neck", "mid_back", "rump"),
        *_chain("chin", "chest", "cord_insertion", "rump"),
        *(
            line
            for side in ("left", "right")
            for line in (*_chain("hind_neck", *_side(side, _ARM)), *_chain("rump", *_side(side, _LEG)))
        ),
    ),
    # A bone is as long as its two joints are apart.
    quantities=(
        Quantity("crl", "mm", "CRL", length, ("cranial_crest", "rump"), main=True),
        Quantity("humerus_left", "mm", "humerus left", length, ("left_shoulder", "left_elbow")),
        Quantity("humerus_right", "mm", "humerus right", length, ("right_shoulder", "right_elbow")),
        Quantity("femur_left", "mm", "femur left", length, ("left_hip", "left_knee")),
        Quantity("femur_right", "mm", "femur right", length, ("right_hip", "right_knee")),
    ),
    dimensions=3,
    symmetric=tuple((f"left_{joint}", f"right_{joint}") for joint in (*_ARM, *_LEG)),
    groups=(
        ("head_and_trunk", _TRUNK),
        ("left_arm", _side("left", _ARM)),
        ("right_arm", _side("right", _ARM)),
        ("left_leg", _side("left", _LEG)),
        ("right_leg", _side("right", _LEG)),
    ),
    midsagittal=midsagittal_plane,
)
