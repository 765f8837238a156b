"""Schema ``head``: the ends of the occipitofrontal and of the biparietal diameter in the plane of head biometry."""

from __future__ import annotations

import numpy as np

from aop_pose import geometry
from aop_pose.core.schema import ORIGIN, REGION, Quantity, Readers, Schema, length

_OFD, _BPD = ("OFD1", "OFD2"), ("BPD1", "BPD2")


def _circumference(ofd1: np.ndarray, ofd2: np.ndarray, bpd1: np.ndarray, bpd2: np.ndarray) -> np.ndarray:
    """HC = pi (BPD + OFD) / 2, shape (...)."""
    return geometry.head_circumference(length(bpd1, bpd2), length(ofd1, ofd2))


def _perimeter(ofd1: np.ndarray, ofd2: np.ndarray, bpd1: np.ndarray, bpd2: np.ndarray) -> np.ndarray:
    """The perimeter of the ellipse on both axes by Ramanujan's formula, shape (...)."""
    return geometry.ramanujan_perimeter(length(bpd1, bpd2), length(ofd1, ofd2))


def _implausible(points: np.ndarray) -> str:
    problem = geometry.implausible_axes(points)
    return f"not the axes of one head: {problem}" if problem else ""


_EXPERT, _EXPERTS = "the expert's circumference", "head_circumference_mm"
_SONOGRAPHERS = (Readers("two sonographers, at most", "Napolitano 2016", limits=(-14.45, 14.45)),)
_HC = "HC: π (BPD + OFD) / 2"

HEAD = Schema(
    name="head",
    points=(*_OFD, *_BPD),
    lines=(_OFD, _BPD),
    interchangeable=(_OFD, _BPD),
    quantities=(
        Quantity("ofd", "px", "OFD", length, _OFD, interval="ofd_px"),
        Quantity("bpd", "px", "BPD", length, _BPD, interval="bpd_px"),
        Quantity(
            "hc", "px", "HC", _circumference, (*_OFD, *_BPD), interval="hc_px", mark="ellipse", main=True, how=_HC
        ),
        Quantity("ofd", "mm", "OFD", length, _OFD, interval="ofd_mm"),
        Quantity("bpd", "mm", "BPD", length, _BPD, interval="bpd_mm"),
        Quantity(
            "hc", "mm", "HC", _circumference, (*_OFD, *_BPD), interval="hc_mm", mark="ellipse", how=_HC,
            stated=_EXPERT, label_column=_EXPERTS, readers=_SONOGRAPHERS,
        ),
        Quantity(
            "hc_ramanujan", "mm", "HC (Ramanujan)", _perimeter, (*_OFD, *_BPD), headline=False, reference="HC",
            main=True, how="HC (Ramanujan): perimeter of the ellipse with these axes (Ramanujan 1914)",
            stated=_EXPERT, label_column=_EXPERTS, readers=_SONOGRAPHERS,
        ),
    ),
    implausible=_implausible,
    further=(*REGION, *ORIGIN),
)  # fmt: skip
