"""``pseudo.csv`` read back: the kept frames with their weights, and what ``NAME.run.json`` says of their making."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from aop_pose.errors import UsageError
from aop_pose.formats.iugc import is_kept, parse_row
from aop_pose.formats.labels import LabelledFrame, find_picture
from aop_pose.formats.pictures import picture_size
from aop_pose.formats.rows import Row, RowError, Seen, filename, number, parse_rows
from aop_pose.keypoints import Keypoints
from aop_pose.pseudo.confidence import CONFIDENCES
from aop_pose.pseudo.label import COLUMNS_OF_TABLE
from aop_pose.pseudo.noise import Noise
from aop_pose.schemas import AOP


@attrs.frozen(eq=False)
class PseudoFrame:
    """A frame with the points a network gave it."""

    frame: LabelledFrame
    weight: float
    """How far the points are to be trusted, in [0, 1]."""


class Origin(BaseModel):
    """What ``NAME.run.json`` says of a table; all None where there is no such file."""

    model_config = ConfigDict(extra="ignore", frozen=True, arbitrary_types_allowed=True)

    model: str | None = None
    confidence: str | None = None
    noise: Noise | None = None

    @field_validator("confidence")
    @classmethod
    def _check_confidence(cls, name: str | None) -> str | None:
        if name is not None and name not in CONFIDENCES:
            raise ValueError(f"expected one of {', '.join(CONFIDENCES)}")
        return name

    @field_validator("noise", mode="before")
    @classmethod
    def _make_noise(cls, given: object) -> object:
        try:
            return Noise(**given) if isinstance(given, dict) else given
        except TypeError as error:
            raise ValueError(str(error)) from None


def read_pseudo(file: Path, data: Path) -> list[PseudoFrame]:
    """The rows with ``keep`` 1, each with its picture (``data/Filename``, else ``data/images/Filename``).

    UsageError names ``file:line`` of the first row that is malformed, repeats a name (dropped rows count), has no
    readable picture, has a point outside it, or a weight that is not a number from 0 to 1; UsageError too where the
    table lacks a column of ``pseudo.csv`` or keeps no frame.
    """
    seen = Seen()
    rows = 0

    def parse(row: Row) -> PseudoFrame | None:
        nonlocal rows
        rows += 1
        kept = is_kept(row)
        seen.add(filename(row.cells["Filename"]), row.line)
        return _frame(row, data) if kept else None

    frames = [frame for frame in parse_rows(Path(file), COLUMNS_OF_TABLE, parse) if frame is not None]
    if not frames:
        raise UsageError(f"{file}: expected at least one frame with keep = 1, found none in {rows} rows")
    return frames


def _frame(row: Row, data: Path) -> PseudoFrame:
    name, coords = parse_row(row)
    weight = _weight(row.cells["weight"])
    path = find_picture(data, name)
    width, height = picture_size(path)
    keypoints = Keypoints.from_points(AOP, coords)
    if outside := keypoints.outside(width, height):
        raise RowError(
            f"{name}: expected points within the {width}x{height} picture, found {', '.join(outside)} outside; "
            "was another size of it labelled?"
        )
    return PseudoFrame(LabelledFrame(name, path, width, height, keypoints), weight)


def _weight(text: str) -> float:
    value = number(text, "weight")
    if not 0 <= value <= 1:
        raise RowError(f"weight: expected a number from 0 to 1, found {text!r}")
    return value


def read_origin(file: Path) -> Origin:
    """What stands beside a table in ``NAME.run.json``; UsageError where that is damaged."""
    document = Path(file).with_suffix(".run.json")
    if not document.is_file():
        return Origin()
    try:
        return Origin.model_validate(json.loads(document.read_text(encoding="utf-8")))
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise UsageError(f"{document}: expected what pseudo-label writes, found a damaged file ({first})") from None
