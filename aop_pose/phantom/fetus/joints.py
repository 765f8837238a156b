"""Angles of the joints of a fetus and how far each may go.

No chart gives the ranges of a fetus of 11 to 15 weeks. The limits are those of healthy newborns, rounded: elbows lack
19 degrees of extension and bend to 159 (Shah et al., Int J Sci Res Educ 2017), knees lack 21 (Broughton et al.,
J Pediatr Orthop 1993), hips lack 19 at six weeks and turn further out than in (Coon et al., Clin Orthop 1975). The
fetus moves its neck and uncurls early (Bagnall et al., J Anat 1977); elbows are mostly bent from 12 weeks on (Ververs
et al., Early Hum Dev 1998). The newborn's neck turns by up to 90 degrees; here head and spine together turn by 72 at
most, so that the left/right rule of FetusMapV2 (equation 7), which takes the head's sides for the shoulders', holds.
The other limits are chosen.
"""

from __future__ import annotations

from typing import NamedTuple

import attrs
import numpy as np

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

    def within_bounds(self) -> bool:
        """True where no joint is beyond its range."""
        given = (self.spine, SPINE), (self.neck, NECK), (self.arms, ARM), (self.legs, LEG)
        return all(bool(((low <= angles) & (angles <= high)).all()) for angles, (low, high) in map(_limits, given))

    def between(self, other: Pose, share: float) -> Pose:
        """The pose at ``share`` of the way to another."""
        pairs = zip(attrs.astuple(self, recurse=False), attrs.astuple(other, recurse=False), strict=True)
        return Pose(*(here + share * (there - here) for here, there in pairs))


def _limits(given: tuple[np.ndarray, tuple[Range, ...]]) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    angles, ranges = given
    low, _, high = np.array(ranges).T
    return angles, (low, high)


def draw(rng: np.random.Generator, ranges: tuple[Range, ...], count: int) -> np.ndarray:
    """``count`` sets of angles in degrees, (count, joints), most often near the usual ones and never beyond a limit."""
    low, usual, high = np.array(ranges).T
    return rng.triangular(low, usual, high, (count, len(ranges)))
