"""How far each stroke runs, and how each number was chosen."""

from __future__ import annotations

import attrs

CONVEXITY = ("parallel", "horizontal")


def _in_order(instance: object, attribute: attrs.Attribute, value: tuple[float, float]) -> None:
    if not 0 <= value[0] < value[1] <= 1:
        raise ValueError(f"{attribute.name}: expected two shares with 0 <= first < second <= 1, found {value}")


@attrs.frozen
class StrokeSettings:
    """Lengths as shares of what the landmarks give, so that a frame of any size gets the same strokes."""

    convexity: str = attrs.field(default="parallel", validator=attrs.validators.in_(CONVEXITY))
    ps_span: tuple[float, float] = attrs.field(default=(0.04, 0.96), validator=_in_order)
    convexity_offset: float = 0.1
    convexity_length: float = 0.5
    ps_gap: float = 0.06
    head_per_symphysis: float = 2.2
    fh_span: tuple[float, float] = attrs.field(default=(0.04, 0.6), validator=_in_order)
    least_angle: float = 10.0
    fh_gap: float = 0.2


DEFAULT = StrokeSettings()
