"""How far each stroke runs, and how each number was chosen.

Every length is a share of what the landmarks give, since the outlines are not known. The shares were chosen on the 300
frames of ``psfhs/labelled.csv`` and their masks, strokes 2 pixels thick: as far from the landmarks as the share of
pixels on the right side stays near 0.99. ``psfhs/val.csv`` was not looked at (``tools/stroke_purity.py`` measures it).
"""

from __future__ import annotations

import math

import attrs

CONVEXITY = ("parallel", "horizontal")

_SHARE = [attrs.validators.ge(0.0), attrs.validators.lt(0.5)]
_POSITIVE = attrs.validators.gt(0.0)


@attrs.frozen
class StrokeSettings:
    """Where the strokes of a frame begin and end. ValueError where a number is out of its range."""

    convexity: str = attrs.field(default="parallel", validator=attrs.validators.in_(CONVEXITY))
    """Direction of the two strokes above and below PS1-PS2: along it, or horizontal as the paper's text says.

    At the offset and length below 0.991 (above) and 0.998 (below) of the parallel pixels lie in the symphysis, 0.985
    and 0.975 of the horizontal ones: the symphysis is tilted by 13 degrees in the median frame.
    """
    convexity_offset: float = attrs.field(default=0.1, validator=_SHARE)
    """Distance from PS1-PS2 in symphysis lengths: 0.08 gives 0.998, 0.1 0.991, 0.12 0.976, 0.15 0.924 (above)."""
    convexity_length: float = attrs.field(default=0.5, validator=_POSITIVE)
    """In symphysis lengths, about the middle: 0.4 gives 0.994, 0.5 0.991, 0.6 0.985, 0.7 0.973 (above)."""
    ps_inset: float = attrs.field(default=0.04, validator=_SHARE)
    """What PS1-PS2 leaves out at either end, in its lengths, as the ends are on the rim: 0 gives 0.967, 0.02 0.9997."""
    ps_gap: float = attrs.field(default=0.05, validator=_SHARE)
    """Distance of the extensions from PS1 and PS2 in symphysis lengths: 0 gives 0.964, 0.03 and more 1.000."""
    fh_inset: float = attrs.field(default=0.03, validator=_SHARE)
    """How deep below the tangent a stroke of the head begins, in symphysis lengths: 0 gives 0.977, from 0.02 0.990."""
    fh_reach: float = attrs.field(default=1.4, validator=_POSITIVE)
    """How far from FH1 a stroke of the head ends: symphysis lengths times the sine of its angle with the tangent.

    That is the chord of a circle that touches the tangent in FH1, its diameter taken as 1.4 symphysis lengths. The true
    chords are 1.6 to 1.8 in the median frame and above 1.2 in 19 of 20. 1.1 gives 0.996, 1.25 0.994, 1.4 0.990, 1.6
    0.975. At 1.4 the longest stroke of a frame has 0.59 head diameters in the median, 0.28 at the least.
    """
    least_angle: float = attrs.field(default=20.0, validator=_POSITIVE)
    """Degrees between a stroke of the head and the tangent; at less it would run along the rim and is not drawn.

    15 gives 0.988, 20 0.990, 25 0.991, 30 0.993.
    """
    fh_gap: float = attrs.field(default=0.15, validator=_SHARE)
    """What the tangent leaves out on both sides of FH1, in its lengths: 0.05 gives 0.979, 0.1 0.989, 0.15 0.994."""

    def __attrs_post_init__(self) -> None:
        # Otherwise a stroke could begin behind its end.
        share = math.sin(math.radians(self.least_angle)) ** 2
        if not (self.least_angle <= 90 and self.fh_inset / self.fh_reach < share):
            raise ValueError(
                f"least_angle: expected at most 90 with a squared sine above fh_inset / fh_reach = "
                f"{self.fh_inset / self.fh_reach:.4f}, found {self.least_angle} ({share:.4f})"
            )


DEFAULT = StrokeSettings()
