"""What is measured on the points of each schema and scored beside the points themselves."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np

from aop_pose import geometry
from aop_pose.schemas import AOP, HEAD

SIGNS = {"deg": "°", "px": " px", "mm": " mm"}
"""Units as they stand behind a number."""


@attrs.frozen
class Quantity:
    """A number measured on the points of a schema."""

    name: str
    unit: str
    """``deg``; ``px``, which is put on the scale that is asked for; ``mm``, which needs the size of a pixel."""
    title: str
    """As the field writes it."""
    of: Callable[[np.ndarray], np.ndarray]
    """Points (frames, points, 2) -> values (frames,) in the unit of the points, NaN where undefined."""
    missing: float | None = None
    """Error of a frame without a prediction; None = the diagonal of its picture."""
    stated: bool = False
    """The truth file may state it (the expert's circumference): then that is the reference, not the true points."""

    @property
    def key(self) -> str:
        """Its name among the quantities of a schema: a length in millimetres has the unit in it."""
        return f"{self.name}_mm" if self.unit == "mm" else self.name

    @property
    def reference_title(self) -> str:
        """What the true value is called: one expert's circumference is the reference of both formulas."""
        return "HC" if self.stated else self.title

    @property
    def sign(self) -> str:
        return SIGNS[self.unit]

    @property
    def label(self) -> str:
        """Title and unit, as an axis or the head of a column has it."""
        return f"{self.title}, {self.sign.strip()}"

    def figure(self, what: str) -> str:
        """Key in ``metrics.json`` of a figure in the unit of the quantity: ``hc_mae_mm``."""
        return f"{self.name}_{what}_{self.unit}"


def _distance(first: int, second: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda coords: geometry.point_distance(coords[:, first], coords[:, second])


def _angle(coords: np.ndarray) -> np.ndarray:
    return geometry.angle_of_progression(coords[:, 0], coords[:, 1], coords[:, 2])


_OFD, _BPD = _distance(0, 1), _distance(2, 3)


def _circumference(coords: np.ndarray) -> np.ndarray:
    return geometry.head_circumference(_BPD(coords), _OFD(coords))


def _perimeter(coords: np.ndarray) -> np.ndarray:
    return geometry.ramanujan_perimeter(_BPD(coords), _OFD(coords))


QUANTITIES: dict[str, tuple[Quantity, ...]] = {
    AOP.name: (Quantity("aop", "deg", "AoP", _angle, missing=180.0),),
    HEAD.name: (
        Quantity("ofd", "px", "OFD", _OFD),
        Quantity("bpd", "px", "BPD", _BPD),
        Quantity("hc", "px", "HC", _circumference),
        Quantity("ofd", "mm", "OFD", _OFD),
        Quantity("bpd", "mm", "BPD", _BPD),
        Quantity("hc", "mm", "HC", _circumference, stated=True),
        Quantity("hc_ramanujan", "mm", "HC (Ramanujan)", _perimeter, stated=True),
    ),
}
"""By schema; the last one that is known is the one that is plotted."""
