"""Which points a model finds, in which order, and what is drawn and measured with them."""

from __future__ import annotations

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

    def index(self, point: str) -> int:
        """Position of a point; ValueError names the known points."""
        if point not in self.points:
            raise ValueError(f"schema {self.name} has points {', '.join(self.points)}; found {point!r}")
        return self.points.index(point)


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

SCHEMAS = {schema.name: schema for schema in (AOP, HEAD)}
