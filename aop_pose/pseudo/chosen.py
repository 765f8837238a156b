"""Pseudo-labelled frames of a training run: which ones, how much each point counts, and what run.json says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.formats.csv_rows import filename, parse_rows, read_list
from aop_pose.formats.label import Label, find_picture, resolve
from aop_pose.pseudo.run import Origin, PseudoFrame, read_origin, read_pseudo


@attrs.frozen(eq=False)
class PseudoSet:
    """The kept frames of a ``pseudo.csv``."""

    file: str
    """As given, like the list that chose among its frames."""
    listed: str | None
    frames: list[PseudoFrame]
    origin: Origin

    def point_weights(self) -> np.ndarray:
        """(frames, 3) trust in each point, over its mean of all frames: so many labels of weight 1, told apart.

        UsageError where a point has no weight on any frame.
        """
        weights = np.array([frame.weights for frame in self.frames])
        means = weights.mean(axis=0)
        if not means.all():
            raise UsageError(
                f"{self.file}: expected weights above 0, found only 0 for {AOP.points[int(np.argmin(means))]} on "
                f"{len(weights)} frames with keep = 1; label them again, perhaps with --uniform"
            )
        return weights / means

    def facts(self, dynamic: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Facts about them for run.json; ``dynamic`` tells how they are weighed anew."""
        weights = np.array([frame.weight for frame in self.frames])
        return {
            "file": self.file, "list": self.listed,
            "frames": len(self.frames), "model": self.origin.model, "confidence": self.origin.confidence,
            "weights": {
                "min": float(weights.min()), "mean": float(weights.mean()), "median": float(np.median(weights)),
                "max": float(weights.max()), "zero": int((weights == 0).sum()),
            },
            "dynamic": dynamic,
        }  # fmt: skip


def find_pseudo(
    pseudo: str | Path, data: Path, listed: str | Path | None, others: Mapping[str, Sequence[Label]]
) -> PseudoSet:
    """The frames of a ``pseudo.csv``, only those that a list names where there is one.

    Both files are taken as given, else below ``data``. ``others``: option -> frames that have labels.

    Raises:
        UsageError: a file does not fit, a listed frame is not in the table, a frame has a label too, or none is left.
    """
    file = resolve(pseudo, data)
    frames = read_pseudo(file, data, keep=True)
    for option, labelled in others.items():
        places = {frame.path.resolve() for frame in labelled}
        if both := [one.frame.name for one in frames if one.frame.path.resolve() in places]:
            more = f" (and {len(both) - 1} more)" if len(both) > 1 else ""
            raise UsageError(f"--pseudo: expected frames without labels, found {both[0]}{more} also in {option}")
    if listed is not None:
        frames = _listed(frames, file, resolve(listed, data), data)
    return PseudoSet(str(pseudo), None if listed is None else str(listed), frames, read_origin(file))


def _listed(frames: list[PseudoFrame], file: Path, listed: Path, data: Path) -> list[PseudoFrame]:
    wanted = {find_picture(data, name).resolve(): name for name in read_list(listed)}
    names = parse_rows(file, ("Filename",), lambda row: filename(row.cells["Filename"]))
    rows = {place.resolve() for name in names for place in (data / name, data / "images" / name)}
    if unknown := [name for place, name in wanted.items() if place not in rows]:
        raise UsageError(f"{listed}: expected frames of {file}, found {unknown[0]} ({len(unknown)} such frames)")
    kept = [one for one in frames if one.frame.path.resolve() in wanted]
    if not kept:
        raise UsageError(f"{file}: expected at least one frame of {listed} with keep = 1, found none")
    return kept
