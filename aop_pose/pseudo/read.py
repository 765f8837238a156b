"""``pseudo.csv`` read back: the kept frames with their weights, and what ``NAME.run.json`` says of their making."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

import attrs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from aop_pose.errors import UsageError
from aop_pose.formats.iugc import is_kept, parse_row
from aop_pose.formats.labels import LabelledFrame, find_picture
from aop_pose.formats.pictures import picture_size
from aop_pose.formats.rows import Row, RowError, Seen, filename, number, parse_rows
from aop_pose.keypoints import Keypoints
from aop_pose.pseudo.confidence import CONFIDENCES, DEFAULT
from aop_pose.pseudo.label import COLUMNS_OF_TABLE, Rule
from aop_pose.pseudo.noise import Noise
from aop_pose.pseudo.run import Cut
from aop_pose.pseudo.signals import DRAWS
from aop_pose.schemas import AOP

_MADE = {"noise": Noise, "cut": Cut}


@attrs.frozen(eq=False)
class PseudoFrame:
    """A frame with the points a network gave it."""

    frame: LabelledFrame
    weight: float
    """How far the points are to be trusted, in [0, 1]."""


class Origin(BaseModel):
    """What ``NAME.run.json`` says of a table; where there is none, no model and the rules of ``pseudo-label``."""

    model_config = ConfigDict(extra="ignore", frozen=True, arbitrary_types_allowed=True)

    model: str | None = None
    confidence: str | None = None
    """As the file says; ``rule`` has the default where it says nothing."""
    draws: int = Field(default=DRAWS, ge=1)
    seed: int = Field(default=0, ge=0)
    min_score: float | None = Field(default=None, ge=0, le=1)
    noise: Noise = Noise()
    cut: Cut = Cut()
    sizes: tuple[str, ...] = ()
    """WIDTHxHEIGHT of the pictures that were labelled; empty where the file does not say."""

    @field_validator("confidence")
    @classmethod
    def _check_confidence(cls, name: str | None) -> str | None:
        if name is not None and name not in CONFIDENCES:
            raise ValueError(f"expected one of {', '.join(CONFIDENCES)}")
        return name

    @field_validator("noise", "cut", mode="before")
    @classmethod
    def _make(cls, given: object, info: ValidationInfo) -> object:
        try:
            return _MADE[str(info.field_name)](**given) if isinstance(given, dict) else given
        except (TypeError, UsageError) as error:
            raise ValueError(str(error)) from None

    @property
    def rule(self) -> Rule:
        """How the frames were labelled."""
        return Rule(self.confidence or DEFAULT, self.draws, self.seed, self.min_score, self.noise)


def read_pseudo(file: Path, data: Path) -> list[PseudoFrame]:
    """The rows with ``keep`` 1, each with its picture (``data/Filename``, else ``data/images/Filename``).

    UsageError names ``file:line`` of the first row that is malformed, repeats a name (dropped rows count) or a picture
    under another name, has no readable picture, one of another size than ``read_origin`` knows, a point outside it, or
    a weight that is not a number from 0 to 1; UsageError too where the table lacks a column of ``pseudo.csv`` or keeps
    no frame.
    """
    seen, pictures = Seen(), Seen()
    sizes = read_origin(file).sizes
    rows = 0

    def parse(row: Row) -> PseudoFrame | None:
        nonlocal rows
        rows += 1
        kept = is_kept(row)
        seen.add(filename(row.cells["Filename"]), row.line)
        if not kept:
            return None
        found = _frame(row, data, sizes)
        # Of links each is a picture of its own, as in a folder that is labelled.
        pictures.add(os.path.normpath(found.frame.path), row.line)
        return found

    frames = [frame for frame in parse_rows(Path(file), COLUMNS_OF_TABLE, parse) if frame is not None]
    if not frames:
        raise UsageError(f"{file}: expected at least one frame with keep = 1, found none in {rows} rows")
    return frames


def _frame(row: Row, data: Path, sizes: Collection[str]) -> PseudoFrame:
    name, coords = parse_row(row)
    weight = _weight(row.cells["weight"])
    path = find_picture(data, name)
    width, height = picture_size(path)
    if sizes and f"{width}x{height}" not in sizes:
        raise RowError(
            f"{name}: expected a picture of {' or '.join(sizes)} as it was labelled, found {width}x{height}; label the "
            "frames again"
        )
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
