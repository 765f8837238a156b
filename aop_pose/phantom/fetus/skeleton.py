"""Where head, trunk and limbs of a fetus are, from the sizes of its parts and the angles of its joints.

Body coordinates in mm: the origin lies between the hips, x runs to the fetus's right, y to its front, z to its head,
which is right-handed. A limb is computed on the right and mirrored for the left, so the two sides obey one rule.
"""

from __future__ import annotations

import attrs
import numpy as np

from aop_pose.phantom.fetus.biometry import HEAD_RISE, Body
from aop_pose.phantom.fetus.joints import LEFT, Pose

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
    """An arm by its angles (..., 5) in degrees, see ``joints.ARM``."""
    body, unit = trunk.body, trunk.body.unit
    root = _on(side, trunk.thorax), (11.5 * unit, 3.5 * unit, body.thorax - 4.0 * unit)
    flexion, abduction, inward, elbow, wrist = np.moveaxis(angles, -1, 0)
    upper = turned(0, flexion) @ turned(1, -abduction) @ turned(2, inward)
    return _limb(root, side, (upper, turned(0, elbow), turned(0, wrist)), (body.upper_arm, body.forearm, 8.0 * unit))


def leg(trunk: Trunk, side: int, angles: np.ndarray) -> Limb:
    """A leg by its angles (..., 5) in degrees, see ``joints.LEG``."""
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
