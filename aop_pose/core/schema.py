"""Which points a model finds, in which order, and what is drawn and measured with them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import attrs


@attrs.frozen
class Schema:
    """Ordered point names and what belongs to them."""

    name: str
    points: tuple[str, ...]
    """Names, in the order of every array."""
    lines: tuple[tuple[str, str], ...]
    """Pairs of point names that an overlay joins."""
    interchangeable: tuple[tuple[str, str], ...]
    """Pairs whose two names may be swapped without changing what is measured (ends of an axis)."""
    measurements: tuple[str, ...]
    """Columns of ``results.csv`` between ``score`` and ``model``."""
    intervals: tuple[str, ...] = ()
    """Measurements whose interval stands after ``model``, as ``NAME_low`` and ``NAME_high``."""
    dimensions: int = 2
    """Axes of what the points lie in: 2 for a picture (x, y), 3 for a volume (i, j, k)."""
    symmetric: tuple[tuple[str, str], ...] = ()
    """Pairs (left, right) of the same structure on both sides of the body: they look alike and do not mean the same."""
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Points that belong together, as (name of the group, its points); every point stands in one group."""

    def index(self, point: str) -> int:
        """Position of a point; ValueError names the known points."""
        if point not in self.points:
            raise ValueError(f"schema {self.name} has points {', '.join(self.points)}; found {point!r}")
        return self.points.index(point)

    def indices(self, points: Sequence[str]) -> tuple[int, ...]:
        """Positions of several points."""
        return tuple(self.index(point) for point in points)

    @property
    def sides(self) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
        """Positions of the left and of the right points of each pair of groups ``left_NAME`` and ``right_NAME``.

        A side moves as a whole: the shoulder, elbow and wrist of one arm stay together (FetusMapV2, section 3.2).
        """
        groups = dict(self.groups)
        return tuple(
            (self.indices(points), self.indices(groups[f"right_{name[5:]}"]))
            for name, points in self.groups
            if name.startswith("left_")
        )

    @property
    def unpaired(self) -> tuple[int, ...]:
        """Positions of the points that belong to neither side."""
        paired = {index for pair in self.sides for side in pair for index in side}
        return tuple(index for index in range(len(self.points)) if index not in paired)

    @property
    def coordinate_columns(self) -> tuple[str, ...]:
        """``PS1_x, PS1_y, …`` or ``brain_i, brain_j, brain_k, …``: columns of tables, in the order of the points."""
        axes = "xy" if self.dimensions == 2 else "ijk"
        return tuple(f"{point}_{axis}" for point in self.points for axis in axes)


AOP = Schema(
    name="aop",
    points=("PS1", "PS2", "FH1"),
    lines=(("PS1", "PS2"), ("PS1", "FH1")),
    interchangeable=(),
    measurements=("aop_deg", "aop_low", "aop_high", "hsd_px", "hsd_mm"),
)

HEAD = Schema(
    name="head",
    points=("OFD1", "OFD2", "BPD1", "BPD2"),
    lines=(("OFD1", "OFD2"), ("BPD1", "BPD2")),
    interchangeable=(("OFD1", "OFD2"), ("BPD1", "BPD2")),
    measurements=("ofd_px", "bpd_px", "hc_px", "ofd_mm", "bpd_mm", "hc_mm", "hc_ramanujan_mm"),
    intervals=("ofd_px", "bpd_px", "hc_px", "ofd_mm", "bpd_mm", "hc_mm"),
)

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
    interchangeable=(),
    measurements=("crl_mm", "humerus_left_mm", "humerus_right_mm", "femur_left_mm", "femur_right_mm"),
    dimensions=3,
    symmetric=tuple((f"left_{joint}", f"right_{joint}") for joint in (*_ARM, *_LEG)),
    groups=(
        ("head_and_trunk", _TRUNK),
        ("left_arm", _side("left", _ARM)),
        ("right_arm", _side("right", _ARM)),
        ("left_leg", _side("left", _LEG)),
        ("right_leg", _side("right", _LEG)),
    ),
)

FETAL_FACE = Schema(
    name="fetal_face",
    points=("brain", "left_eye", "right_eye"),
    lines=(("brain", "left_eye"), ("brain", "right_eye"), ("left_eye", "right_eye")),
    interchangeable=(),
    measurements=("eye_distance_mm",),
    dimensions=3,
    symmetric=(("left_eye", "right_eye"),),
    groups=(("brain", ("brain",)), ("left_eye", ("left_eye",)), ("right_eye", ("right_eye",))),
)

SCHEMAS = {schema.name: schema for schema in (AOP, HEAD, FETUS, FETAL_FACE)}
FRAME_SCHEMAS = {name: schema for name, schema in SCHEMAS.items() if schema.dimensions == 2}
"""Those whose points lie in a picture."""
VOLUME_SCHEMAS = {name: schema for name, schema in SCHEMAS.items() if schema.dimensions == 3}
"""Those whose points lie in a volume."""
