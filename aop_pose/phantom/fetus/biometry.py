"""How large the parts of a fetus of 11 to 15 weeks are, in millimetres.

Crown-rump length by age: Papageorghiou et al., Ultrasound Obstet Gynecol 2014 (INTERGROWTH-21st, 58-105 days). Head
diameters, abdominal circumference and femur at 14+0 weeks: Papageorghiou et al., Lancet 2014 (98 days and more). Other
ages of the range are this fetus scaled by crown-rump length. What no chart gives is chosen to look right: the humerus
is as long as the femur, forearm and lower leg are shorter, and cartilage makes a limb segment, joint to joint, longer
than the shaft that ultrasound shows.
"""

from __future__ import annotations

import math

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
