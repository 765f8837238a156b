"""The places of head, trunk and limbs of a fetus, and the solids that it is built of.

Body coordinates in mm: the origin lies between the hips, x runs to the fetus's right, y to its front, z to its head,
which is right-handed. A limb is computed on the right and mirrored for the left, so the two sides obey one rule.
Solids are ellipsoids and tapered capsules with signed distances (negative inside) of first order: exact on the surface,
a little off further away.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import attrs
import numpy as np

AGE_DAYS = (80.0, 104.0)
"""The volumes of FetusMapV2 are of 10 to 15 weeks (section 4.1)."""
REFERENCE_DAYS = 98.0
SHAFT = 0.78
"""Ossified shaft over the distance of the joints."""
FOREARM, LOWER_LEG = 0.87, 0.90
"""Of the upper arm and of the thigh."""
_STRAIGHT = 1.05
"""Length of the uncurled body over the crown-rump length, which is measured in a natural attitude."""


def crown_rump_length(days: float) -> float:
    """Mean crown-rump length in mm at an age in days, 58 to 105."""
    return -50.6562 + 0.815118 * days + 0.00535302 * days**2


def biparietal_diameter(weeks: float) -> float:
    """Mean in mm at an age in weeks, 14 to 40; so are the three below."""
    return 5.60878 + 0.158369 * weeks**2 - 0.00256379 * weeks**3


def occipitofrontal_diameter(weeks: float) -> float:
    return -12.4097 + 0.626342 * weeks**2 - 0.148075 * weeks**2 * math.log(weeks)


def abdominal_circumference(weeks: float) -> float:
    return -81.3243 + 11.6772 * weeks - 0.000561865 * weeks**3


def femur_length(weeks: float) -> float:
    return -39.9616 + 4.32298 * weeks - 0.0380156 * weeks**2


@attrs.frozen
class Body:
    """Sizes in mm. ``unit`` is 1 for the mean fetus of 14+0 weeks; small parts are multiples of it."""

    age_days: float
    unit: float
    skull: tuple[float, float, float]
    """Half of the skull from side to side, from front to back, from base to vertex."""
    neck: float
    """C7 to C1."""
    thorax: float
    """L1 to C7."""
    lumbar: float
    """Height of L1 above the hips."""
    rump: float
    """Depth of the rump below the hips."""
    abdomen: tuple[float, float]
    """Half of the abdomen from side to side and from front to back."""
    upper_arm: float
    forearm: float
    thigh: float
    lower_leg: float


def mean_body(days: float = REFERENCE_DAYS) -> Body:
    """The body of the mean fetus of an age in days."""
    return _body(days, head=1.0, trunk=1.0, arms=1.0, legs=1.0, whole=1.0)


def draw_body(rng: np.random.Generator) -> Body:
    """A body of an age drawn evenly from ``AGE_DAYS``, each part up to a tenth larger or smaller than its mean."""
    days = rng.uniform(*AGE_DAYS)
    whole, head, trunk, arms, legs = 1 + rng.normal(0, 0.03, 5).clip(-0.05, 0.05)
    return _body(days, head, trunk, arms, legs, whole)


def _body(days: float, head: float, trunk: float, arms: float, legs: float, whole: float) -> Body:
    weeks = REFERENCE_DAYS / 7
    unit = whole * crown_rump_length(days) / crown_rump_length(REFERENCE_DAYS)
    bpd, ofd = biparietal_diameter(weeks), occipitofrontal_diameter(weeks)
    height = math.sqrt(bpd * ofd) * 0.96
    neck, rump = 8.0, 10.5
    above = neck + HEAD_RISE + height / 2
    spine = _STRAIGHT * crown_rump_length(REFERENCE_DAYS) - above - rump
    girth = abdominal_circumference(weeks) / math.pi
    segment = femur_length(weeks) / SHAFT
    return Body(
        age_days=float(days),
        unit=float(unit),
        skull=(unit * head * bpd / 2, unit * head * ofd / 2, unit * head * height / 2),
        neck=unit * neck,
        thorax=unit * trunk * spine * 0.62,
        lumbar=unit * trunk * spine * 0.38,
        rump=unit * trunk * rump,
        abdomen=(unit * trunk * girth * 0.525, unit * trunk * girth * 0.475),
        upper_arm=unit * arms * segment,
        forearm=unit * arms * segment * FOREARM,
        thigh=unit * legs * segment,
        lower_leg=unit * legs * segment * LOWER_LEG,
    )


HEAD_RISE = 13.0
"""Centre of the skull above C1, in units."""


LEFT, RIGHT = 0, 1


class Range(NamedTuple):
    """Degrees: lowest, most usual, highest."""

    low: float
    usual: float
    high: float


SPINE = (Range(0, 25, 50), Range(-15, 0, 15), Range(-12, 0, 12))
"""Flexion, bend to the right, turn to the right, all of the thorax against the pelvis."""
NECK = (Range(-30, 15, 45), Range(-20, 0, 20), Range(-60, 0, 60))
"""Flexion, bend to the right, turn to the right, all of the head against the thorax."""
ARM = (Range(-25, 50, 150), Range(5, 30, 100), Range(-30, 45, 80), Range(20, 80, 155), Range(-40, 10, 60))
"""Shoulder flexion, abduction, inward turn; elbow flexion; wrist flexion."""
LEG = (Range(20, 85, 135), Range(-5, 20, 50), Range(-45, -15, 25), Range(20, 80, 145), Range(-20, 20, 50))
"""Hip flexion, abduction, inward turn; knee flexion; pointing of the foot."""


def _angles(value: object) -> np.ndarray:
    return np.array(value, dtype=np.float64)


@attrs.frozen(eq=False)
class Pose:
    """Angles in degrees, in the order of the ranges above; all zero is standing straight with hanging arms."""

    spine: np.ndarray = attrs.field(converter=_angles)
    """(3,)"""
    neck: np.ndarray = attrs.field(converter=_angles)
    """(3,)"""
    arms: np.ndarray = attrs.field(converter=_angles)
    """(2, 5), left first."""
    legs: np.ndarray = attrs.field(converter=_angles)
    """(2, 5), left first."""

    def mirrored(self) -> Pose:
        """The pose that a mirror shows: sides exchanged, bends and turns the other way."""
        turn = np.array([1.0, -1.0, -1.0])
        return Pose(self.spine * turn, self.neck * turn, self.arms[::-1], self.legs[::-1])

    def between(self, other: Pose, share: float) -> Pose:
        """The pose at ``share`` of the way to another."""
        pairs = zip(attrs.astuple(self, recurse=False), attrs.astuple(other, recurse=False), strict=True)
        return Pose(*(here + share * (there - here) for here, there in pairs))


def draw(rng: np.random.Generator, ranges: tuple[Range, ...], count: int) -> np.ndarray:
    """``count`` sets of angles in degrees, (count, joints), most often near the usual ones and never beyond a limit."""
    low, usual, high = np.array(ranges).T
    return rng.triangular(low, usual, high, (count, len(ranges)))


_SPINE_Y = -5.0
"""The spine runs behind the middle of the trunk, in units."""


@attrs.frozen(eq=False)
class Place:
    """A coordinate system within another: x = turn · local + origin. Leading dimensions are a batch."""

    turn: np.ndarray
    """(..., 3, 3)"""
    origin: np.ndarray
    """(..., 3) in mm."""

    def at(self, x: float, y: float, z: float) -> np.ndarray:
        """A local point in the outer system, (..., 3)."""
        return self.origin + self.turn @ np.array([x, y, z])

    def inner(self, turn: np.ndarray, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Place:
        """A system whose origin and axes are given in this one."""
        return Place(self.turn @ turn, self.at(x, y, z))


def turned(axis: int, degrees: np.ndarray | float) -> np.ndarray:
    """Rotations about x, y or z (0, 1, 2), shape (..., 3, 3); from the next axis to the one after it is positive."""
    angle = np.radians(np.asarray(degrees, dtype=np.float64))
    c, s = np.cos(angle), np.sin(angle)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((*angle.shape, 3, 3))
    matrix[..., axis, axis] = 1.0
    matrix[..., first, first] = matrix[..., second, second] = c
    matrix[..., first, second], matrix[..., second, first] = -s, s
    return matrix


def _bent(angles: np.ndarray, share: float = 1.0) -> np.ndarray:
    """Rotation of a part of the spine: flexion, bend to the right, turn to the right, in degrees."""
    flexion, bend, turn = share * angles
    return turned(2, -turn) @ turned(1, bend) @ turned(0, -flexion)


@attrs.frozen(eq=False)
class Trunk:
    """The coordinate systems of head and trunk."""

    body: Body
    pelvis: Place
    """Origin between the hips."""
    belly: Place
    """Origin at L1, turned by half of the spine's bend."""
    thorax: Place
    """Origin at L1."""
    neck: Place
    """Origin at C7."""
    head: Place
    """Origin at C1."""

    @classmethod
    def of(cls, body: Body, pose: Pose) -> Trunk:
        pelvis = Place(np.eye(3), np.zeros(3))
        loin = 0.0, _SPINE_Y * body.unit, body.lumbar
        belly, thorax = (pelvis.inner(_bent(pose.spine, share), *loin) for share in (0.5, 1.0))
        neck = thorax.inner(_bent(pose.neck, 0.5), 0.0, 0.0, body.thorax)
        return cls(body, pelvis, belly, thorax, neck, neck.inner(_bent(pose.neck, 0.5), 0.0, 0.0, body.neck))

    @property
    def skull(self) -> np.ndarray:
        """Centre of the skull, (3,)."""
        return self.head.at(0.0, 3.5 * self.body.unit, HEAD_RISE * self.body.unit)


@attrs.frozen(eq=False)
class Limb:
    """An arm or a leg; leading dimensions are a batch."""

    joints: np.ndarray
    """(..., 4, 3) mm: shoulder, elbow, wrist, finger tips, or hip, knee, ankle, toes."""
    end: Place
    """The hand or the foot: origin at wrist or ankle, local -z runs to its tip, y to palm or sole's back."""


def arm(trunk: Trunk, side: int, angles: np.ndarray) -> Limb:
    """An arm by its angles (..., 5) in degrees, see ``ARM``."""
    body, unit = trunk.body, trunk.body.unit
    root = _on(side, trunk.thorax), (11.5 * unit, 3.5 * unit, body.thorax - 4.0 * unit)
    flexion, abduction, inward, elbow, wrist = np.moveaxis(angles, -1, 0)
    upper = turned(0, flexion) @ turned(1, -abduction) @ turned(2, inward)
    return _limb(root, side, (upper, turned(0, elbow), turned(0, wrist)), (body.upper_arm, body.forearm, 8.0 * unit))


def leg(trunk: Trunk, side: int, angles: np.ndarray) -> Limb:
    """A leg by its angles (..., 5) in degrees, see ``LEG``."""
    body, unit = trunk.body, trunk.body.unit
    root = _on(side, trunk.pelvis), (7.5 * unit, 1.0 * unit, 0.0)
    flexion, abduction, inward, knee, pointing = np.moveaxis(angles, -1, 0)
    upper = turned(0, flexion) @ turned(1, -abduction) @ turned(2, inward)
    return _limb(
        root, side, (upper, turned(0, -knee), turned(0, 90 - pointing)), (body.thigh, body.lower_leg, 8.5 * unit)
    )


def _on(side: int, place: Place) -> Place:
    """The place itself, or for the left the one in which its mirror image is computed as if it were the right."""
    if side != LEFT:
        return place
    return Place(place.turn @ np.diag([-1.0, 1.0, 1.0]), place.origin)


def _limb(
    root: tuple[Place, tuple[float, float, float]],
    side: int,
    turns: tuple[np.ndarray, np.ndarray, np.ndarray],
    lengths: tuple[float, float, float],
) -> Limb:
    place = root[0].inner(np.eye(3), *root[1])
    joints = [np.broadcast_to(place.origin, (*turns[0].shape[:-2], 3))]
    for number, (turn, length) in enumerate(zip(turns, lengths, strict=True)):
        place = place.inner(turn)
        joints.append(place.at(0.0, 0.0, -length))
        if number < 2:
            place = Place(place.turn, joints[-1])
    return Limb(np.stack(joints, axis=-2), place)


def landmarks(trunk: Trunk, arms: tuple[Limb, Limb], legs: tuple[Limb, Limb]) -> dict[str, np.ndarray]:
    """The points of the schema ``fetus`` by name, (3,) mm each, limbs given left first.

    Those of head and trunk lie on the surface of skull or skin in the midline; joints lie inside.
    """
    body, unit = trunk.body, trunk.body.unit
    skull = Place(trunk.head.turn, trunk.skull)
    _, half_length, half_height = body.skull
    points = {
        "cranial_crest": skull.at(0.0, 0.0, half_height),
        "forehead": skull.at(0.0, half_length, 0.0),
        "occiput": skull.at(0.0, -half_length, 0.0),
        "nasal_bone": trunk.head.at(*(unit * np.array(NASAL_BONE))),
        "chin": trunk.head.at(*(unit * np.array(CHIN))),
        "hind_neck": trunk.neck.at(0.0, -NECK_RADIUS * unit, 0.5 * body.neck),
        "chest": trunk.thorax.at(0.0, (THORAX_Y + THORAX_DEPTH) * unit, 0.5 * body.thorax),
        "mid_back": trunk.thorax.at(0.0, (THORAX_Y - THORAX_DEPTH) * unit, 0.5 * body.thorax),
        "cord_insertion": trunk.belly.at(0.0, ABDOMEN_Y * unit + body.abdomen[1], ABDOMEN_Z * unit),
        "rump": trunk.pelvis.at(0.0, PELVIS_Y * unit, -body.rump),
    }
    for side, arm_, leg_ in zip(("left", "right"), arms, legs, strict=True):
        for limb, names in ((arm_, ("shoulder", "elbow", "wrist")), (leg_, ("hip", "knee", "ankle"))):
            points |= {f"{side}_{name}": joint for name, joint in zip(names, limb.joints, strict=False)}
    return points


# Places and sizes of the soft parts in units, in the system of their part.
NASAL_BONE = (0.0, 18.6, 5.5)
CHIN = (0.0, 16.5, -6.0)
NECK_RADIUS = 5.5
THORAX_Y, THORAX_DEPTH = 6.5, 9.5
ABDOMEN_Y, ABDOMEN_Z = 6.5, -2.0
PELVIS_Y = -1.0


@attrs.frozen(eq=False)
class Ellipsoid:
    """Half axes in mm along the axes of a place whose origin is the centre."""

    place: Place
    half: tuple[float, float, float]

    @property
    def middle(self) -> np.ndarray:
        return self.place.origin

    @property
    def reach(self) -> float:
        """Radius of a sphere around the middle that holds all of it."""
        return max(self.half)

    def local(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates along the half axes in mm, of points of any shape."""
        (ox, oy, oz), turn = self.place.origin.astype(x.dtype), self.place.turn.astype(x.dtype)
        dx, dy, dz = x - ox, y - oy, z - oz
        u, v, w = (turn[0, axis] * dx + turn[1, axis] * dy + turn[2, axis] * dz for axis in range(3))
        return u, v, w

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """mm to the surface, of points of any shape."""
        u, v, w = self.local(x, y, z)
        p, q, r = u / self.half[0], v / self.half[1], w / self.half[2]
        level = np.maximum(np.sqrt(p * p + q * q + r * r), 1e-6)
        p, q, r = p / self.half[0], q / self.half[1], r / self.half[2]
        slope = np.sqrt(p * p + q * q + r * r)
        # At the very centre every direction is as good: there the nearest surface is meant.
        return level * (level - 1) / np.maximum(slope, 1e-6 / min(self.half))

    def moved(self, world: Place) -> Ellipsoid:
        """The same solid after a rigid motion."""
        return Ellipsoid(Place(world.turn @ self.place.turn, world.at(*self.place.origin)), self.half)


@attrs.frozen(eq=False)
class Capsule:
    """A round bar from one point to another, (3,) mm each, with the radius at both ends in mm."""

    start: np.ndarray
    end: np.ndarray
    first: float
    last: float

    @property
    def middle(self) -> np.ndarray:
        return (self.start + self.end) / 2

    @property
    def reach(self) -> float:
        """Radius of a sphere around the middle that holds all of it."""
        return float(np.sqrt(np.sum((self.end - self.start) ** 2)) / 2 + max(self.first, self.last))

    def along(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Share of the way from start to end (0 to 1) and mm from the axis, of points of any shape."""
        (sx, sy, sz), (bx, by, bz) = self.start.astype(x.dtype), (self.end - self.start).astype(x.dtype)
        dx, dy, dz = x - sx, y - sy, z - sz
        share = np.clip((dx * bx + dy * by + dz * bz) / max(float(bx * bx + by * by + bz * bz), 1e-12), 0, 1)
        dx, dy, dz = dx - share * bx, dy - share * by, dz - share * bz
        return share, np.sqrt(dx * dx + dy * dy + dz * dz)

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """mm to the surface, of points of any shape."""
        share, off = self.along(x, y, z)
        return off - (self.first + (self.last - self.first) * share)

    def moved(self, world: Place) -> Capsule:
        """The same solid after a rigid motion."""
        return Capsule(world.at(*self.start), world.at(*self.end), self.first, self.last)


Solid = Ellipsoid | Capsule


ARM_RADII = (3.0, 2.6, 1.9, 1.5)
"""At shoulder, elbow, wrist and finger tips, in units."""
LEG_RADII = (4.4, 3.3, 2.2, 1.7)
"""At hip, knee, ankle and toes, in units."""
_UNTURNED = np.eye(3)


def trunk_parts(trunk: Trunk) -> dict[str, Ellipsoid]:
    """Thorax, abdomen and pelvis in body coordinates, mm."""
    body, unit = trunk.body, trunk.body.unit
    thorax = trunk.thorax.inner(_UNTURNED, 0.0, THORAX_Y * unit, 0.5 * body.thorax)
    abdomen = trunk.belly.inner(_UNTURNED, 0.0, ABDOMEN_Y * unit, ABDOMEN_Z * unit)
    pelvis = trunk.pelvis.inner(_UNTURNED, 0.0, PELVIS_Y * unit, 0.0)
    return {
        "thorax": Ellipsoid(thorax, (11.5 * unit, THORAX_DEPTH * unit, 0.62 * body.thorax)),
        "abdomen": Ellipsoid(abdomen, (*body.abdomen, 13.0 * unit)),
        "pelvis": Ellipsoid(pelvis, (9.5 * unit, 8.0 * unit, body.rump)),
    }


def head_parts(trunk: Trunk) -> dict[str, Ellipsoid]:
    """Skull, face, chin and nose in body coordinates, mm."""
    unit, head = trunk.body.unit, trunk.head
    face = head.inner(_UNTURNED, 0.0, 11.0 * unit, 2.5 * unit)
    chin = head.inner(_UNTURNED, 0.0, 12.0 * unit, -5.5 * unit)
    nose = head.inner(_UNTURNED, 0.0, 18.6 * unit, 3.2 * unit)
    return {
        "skull": Ellipsoid(Place(head.turn, trunk.skull), trunk.body.skull),
        "face": Ellipsoid(face, (8.8 * unit, 7.4 * unit, 9.8 * unit)),
        "chin": Ellipsoid(chin, (4.8 * unit, 4.6 * unit, 3.6 * unit)),
        "nose": Ellipsoid(nose, (1.9 * unit, 2.4 * unit, 2.0 * unit)),
    }


def neck_part(trunk: Trunk) -> Capsule:
    """The neck in body coordinates, mm."""
    radius = NECK_RADIUS * trunk.body.unit
    return Capsule(trunk.neck.origin, trunk.head.at(0.0, 3.0 * trunk.body.unit, 4.0 * trunk.body.unit), radius, radius)


def limb_parts(limb: Limb, radii: tuple[float, ...], unit: float) -> list[Capsule]:
    """The three segments of one limb in body coordinates, mm."""
    sizes = [radius * unit for radius in radii]
    return [Capsule(limb.joints[n], limb.joints[n + 1], sizes[n], sizes[n + 1]) for n in range(3)]
