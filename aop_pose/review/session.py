"""The frames of a run as one reader goes through them: doubtful ones first, each with its picture and its points."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Any

import attrs
import cv2
import numpy as np

from aop_pose.core.frame import Frame
from aop_pose.core.measure import why_refused
from aop_pose.core.region import Region
from aop_pose.core.results import Row, index_of, points_of, schema_of, status_of
from aop_pose.core.schema import ORIGIN, REGION, Quantity, Schema, main_quantity
from aop_pose.draw.frame import colours, overlay_name
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.evaluation.match import image_name, pair_names, tidy
from aop_pose.evaluation.sources import read_truth, table_in
from aop_pose.formats.label import point_problems
from aop_pose.io.clinic.study import SALT, expand, find_again
from aop_pose.io.discover import Entry, discover
from aop_pose.io.folders import DOCUMENT, OUTLINES, sources_of_run
from aop_pose.io.images import read_frames
from aop_pose.io.table import read_facts, read_results
from aop_pose.measuring.images import uncovered
from aop_pose.review.log import Decision, Key, Log, models_of, other_readers
from aop_pose.review.second import SecondLook

REASONS = (
    "not the right plane",
    "a structure is not seen",
    "poor picture",
    "mirrored or turned",
    "not an ultrasound frame",
    "another reason, see the note",
)
"""Offered for a rejection; a reader may write another."""
_KEPT = 48
"""Decoded pictures that stay in memory."""


class NotSavedError(UsageError):
    """A decision that cannot be kept as it was sent; the message says why."""


@attrs.frozen(eq=False)
class Item:
    """A row of the run, and what is known of it."""

    key: Key
    status: str
    reason: str
    points: np.ndarray
    """Shape (points, 2) of the model, NaN where there is none."""
    value: float
    """The main quantity as the run states it, NaN where it states none."""
    interval: tuple[float, float]
    """Of the main quantity, NaN where there is none."""
    label: np.ndarray | None
    """Shape (points, 2) of the given labels."""
    difference: float
    """Between the run and the label, in the unit of the main quantity; NaN where there is no label."""
    row: Row

    @property
    def doubt(self) -> float:
        """The larger of half the interval and the difference from the label; infinite for what was withheld."""
        if self.status != "ok":
            return math.inf if self.status == "abstained" else -math.inf
        return max((one for one in (self.width / 2, self.difference) if math.isfinite(one)), default=0.0)

    @property
    def width(self) -> float:
        """Of the interval, NaN where there is none."""
        return self.interval[1] - self.interval[0]

    def why(self, sign: str) -> str:
        """Its doubt in words."""
        if self.status != "ok":
            return self.reason or self.status
        words = [f"± {self.width / 2:.1f}{sign}"] if math.isfinite(self.width) else []
        words += [f"{self.difference:.1f}{sign} from the label"] if math.isfinite(self.difference) else []
        return ", ".join(words)


@attrs.frozen(eq=False)
class _Shown:
    """A picture as the page gets it."""

    png: bytes
    width: int
    height: int
    scale: tuple[float, float] | None
    """Millimetres per pixel along x and y; None = not known."""
    refusal: str
    """Why nothing can be measured on it, whatever the points."""


class Session:
    """A run, its frames and the log of one reader.

    Args:
        results: folder of a run of ``predict``, or its ``results.csv``.
        reader: name of the reader, whose log is opened by ``log``.
        frames: folder of what was measured; None = where the run found it.
        labels: label file or results of somebody else; frames that disagree with it come first.
        weights: artefact of the run, for a second look; "" = the shipped one that it names.

    Raises:
        UsageError: no results of frames, frames that are not found, labels of other frames.
    """

    def __init__(
        self, results: Path, reader: str, frames: Path | None = None, labels: Path | None = None, weights: str = ""
    ) -> None:
        table = table_in(results)
        rows = read_results(table)
        if not rows:
            raise UsageError(f"{table}: expected rows to review, found none; measure frames with aop-pose predict")
        self.folder = table.parent
        self.schema = schema_of(rows)
        if self.schema.dimensions != 2:
            raise UsageError(f"{table}: expected results of frames, found those of volumes; review shows frames")
        self.quantity = _quantity(self.schema, rows)
        self.notes: list[str] = []
        self.items = self._sorted(rows, labels)
        self._by_key = {item.key: place for place, item in enumerate(self.items)}
        self._private = (self.folder / SALT).is_file()
        self._entries = self._found(frames)
        self.has_labels = labels is not None
        self.model = models_of(rows)
        self.log = Log(self.folder, reader, {"schema": self.schema.name, "model": self.model})
        self._second = SecondLook(self.model, weights)
        self._shown: OrderedDict[int, _Shown] = OrderedDict()
        self._reading, self._writing = Lock(), Lock()

    def _sorted(self, rows: Sequence[Row], labels: Path | None) -> list[Item]:
        keys = [(row["source"], index_of(row, f"results line {line}")) for line, row in enumerate(rows, 2)]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise UsageError(f"results: expected one row per frame, found several for {image_name(*twice)}")
        given = self._labels(keys, labels) if labels is not None else {}
        items = []
        for line, (key, row) in enumerate(zip(keys, rows, strict=True), 2):
            where = f"results line {line}"
            points = points_of(row, self.schema, where)
            label = given.get(key)
            items.append(
                Item(
                    key, status_of(row, where, bool(np.isfinite(points).all())), row.get("reason", ""), points,
                    _number(row, self.quantity.column), _interval(row, self.quantity), label,
                    self._difference(points, label, row), row,
                )
            )  # fmt: skip
        return sorted(items, key=lambda item: (-item.doubt, _number(item.row, "score"), item.key))

    def _labels(self, keys: Sequence[Key], labels: Path) -> dict[Key, np.ndarray]:
        truth = read_truth(table_in(labels), self.schema)
        self.notes += truth.notes
        answers = pair_names([image_name(*key) for key in keys], [tidy(name) for name in truth.names], [])
        found = {keys[at]: truth.coords[position] for position, at in enumerate(answers) if at is not None}
        if len(found) < len(truth.names):
            self.notes.append(f"{len(truth.names) - len(found)} labels are of frames that are not in the results")
        return found

    def _difference(self, points: np.ndarray, label: np.ndarray | None, row: Row) -> float:
        if label is None:
            return math.nan
        scale = _scale(row)
        ours, theirs = (points, label) if scale is None else (points * scale, label * scale)
        return float(
            np.abs(
                self.schema.unfolded(self.quantity, ours, like=theirs)
                - self.schema.unfolded(self.quantity, theirs, like=theirs)
            )
        )

    def _found(self, frames: Path | None) -> dict[str, Entry]:
        """The files of the rows, by source; UsageError where none is found."""
        places = [frames] if frames is not None else [Path(one) for one in sources_of_run(self.folder)]
        there = [place for place in places if place.exists()]
        if frames is not None and not there:
            raise UsageError(f"--frames: expected a folder, found nothing at {frames}")
        if not there:
            raise UsageError(f"{self.folder} does not say where its frames are; give their folder with --frames")
        wanted = {item.key[0] for item in self.items}
        entries = expand(discover(there).entries)
        found = {entry.source: entry for entry in entries if entry.source in wanted}
        if len(found) < len(wanted) and (self._private or any(item.row.get("sop") for item in self.items)):
            again = find_again(entries, self.folder)
            for item in self.items:
                entry = again.get(item.key[0] if self._private else item.row.get("sop", ""))
                if entry is not None:
                    found[item.key[0]] = entry
        if not found:
            some = next(iter(sorted(wanted)))
            raise UsageError(f"none of the {len(wanted)} measured files is in {there[0]}, {some} for one; see --frames")
        if len(found) < len(wanted):
            self.notes.append(f"{len(wanted) - len(found)} of {len(wanted)} measured files are not found")
        return found

    def place(self, source: str, index: int) -> int:
        """Position of a frame; UsageError for one that is not in the results."""
        try:
            return self._by_key[source, index]
        except KeyError:
            raise UsageError(f"no frame {image_name(source, index)[:80]} in these results") from None

    def item(self, place: int) -> Item:
        """The frame at a position; UsageError where there is none."""
        if not 0 <= place < len(self.items):
            raise UsageError(f"expected a frame from 0 to {len(self.items) - 1}, found {place}")
        return self.items[place]

    @property
    def decided(self) -> int:
        """Frames that this reader has accepted or rejected."""
        return sum(self.log.of(item.key).state != "open" for item in self.items)

    def overview(self) -> dict[str, Any]:
        """All that the page needs to begin: the frames in order, what they are of, and how far this reader is."""
        return {
            "schema": self.schema.name,
            "points": list(self.schema.points),
            "lines": [list(line) for line in self.schema.lines],
            "colours": [f"rgb({red} {green} {blue})" for blue, green, red in colours(self.schema.points)],
            "quantities": [
                {"column": one.column, "title": one.title, "unit": one.unit, "main": one is self.quantity}
                for one in self.schema.quantities
                if not one.needs_outline
            ],
            "reader": self.log.reader,
            "model": self.model,
            "folder": self.folder.resolve().name,
            "coverage": (read_facts(self.folder / DOCUMENT) or {}).get("coverage"),
            "labels": self.has_labels,
            "reasons": list(REASONS),
            "seconds": self.log.seconds[-50:],
            "readers": {
                name: [place for key, place in self._by_key.items() if key in said and said[key].state != "open"]
                for name, said in other_readers(self.folder, self.log.reader)
            },
            "frames": [
                [
                    *item.key, item.status, None if math.isinf(item.doubt) else round(item.doubt, 2),
                    item.why(self.quantity.sign), self.log.of(item.key).state, item.label is not None,
                ]
                for item in self.items
            ],
        }  # fmt: skip

    def frame(self, place: int) -> dict[str, Any]:
        """Everything of one frame but its pixels; ``trouble`` says why it cannot be looked at."""
        item = self.item(place)
        about: dict[str, Any] = {
            "place": place,
            "source": item.key[0],
            "index": item.key[1],
            "status": item.status,
            "why": item.why(self.quantity.sign),
            "value": _finite(item.value),
            "interval": [_finite(end) for end in item.interval],
            "model": self._named(item.points),
            "mirrored": item.row.get("mirrored") == "1",
            "outlines": self._outlines(item),
            "trouble": "",
        }
        try:
            shown = self._picture(place)
            about |= {"width": shown.width, "height": shown.height, "scale": shown.scale, "refusal": shown.refusal}
        except UnreadableError as error:
            about |= {"width": 0, "height": 0, "scale": None, "refusal": "", "trouble": str(error)}
        return about | self.said(place)

    def said(self, place: int) -> dict[str, Any]:
        """The last decision of this reader on a frame, as the page keeps it."""
        item = self.item(place)
        decision = self.log.of(item.key)
        return attrs.asdict(decision) | {"place": place, "points": decision.points or self._named(item.points)}

    def picture(self, place: int) -> bytes:
        """The pixels of a frame as PNG; UnreadableError where it has none."""
        return self._picture(place).png

    def _picture(self, place: int) -> _Shown:
        with self._reading:
            if place in self._shown:
                self._shown.move_to_end(place)
                return self._shown[place]
            item = self.item(place)
            frame = self._read(item.key)
            size = _number(item.row, "width"), _number(item.row, "height")
            if size != frame.shape and all(map(math.isfinite, size)):
                raise UnreadableError(
                    f"another picture of this name: it has {frame.width} x {frame.height} pixels, "
                    f"the measured one had {size[0]:.0f} x {size[1]:.0f}"
                )
            pixels = frame.pixels
            if self._private:
                # As on an overlay: names and dates may be burned in around the region.
                pixels = uncovered(frame, _region(item.row, frame)).pixels
                if frame.private and not pixels.any():
                    raise UnreadableError(
                        "its region is not known, and names may be burned in around it: measure again with "
                        "--region X,Y,W,H, or with --keep-identifiers"
                    )
            fast = [cv2.IMWRITE_PNG_COMPRESSION, 1]
            png = cv2.imencode(".png", pixels, fast)[1].tobytes()
            scale = _scale(item.row)
            if scale is None and frame.spacing is not None:
                scale = frame.spacing[1], frame.spacing[0]
            spacing = None if scale is None else scale[::-1]
            refusal = why_refused(spacing, frame.aspect)
            self._shown[place] = _Shown(png, frame.width, frame.height, scale, refusal)
            while len(self._shown) > _KEPT:
                self._shown.popitem(last=False)
            return self._shown[place]

    def _read(self, key: Key) -> Frame:
        source, index = key
        if source not in self._entries:
            raise UnreadableError("the file is not found; give its folder with --frames")

        def wanted(number: int, time_s: float | None) -> bool | None:
            return None if number > index else number == index

        with closing(read_frames(self._entries[source], wanted)) as frames:
            for frame in frames:
                return frame
        raise UnreadableError(f"the file has no frame {index}")

    def _outlines(self, item: Item) -> dict[str, Any]:
        """Closed contours by structure, in pixels; nothing where the run wrote none."""
        path = self.folder / OUTLINES / overlay_name(*item.key).with_suffix(".json")
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {name: said[name] for name in ("PS", "FH") if isinstance(said.get(name), list)}

    def others(self, place: int) -> dict[str, Any]:
        """The points of other readers, by name; UsageError until this reader has decided: readers are blind."""
        item = self.item(place)
        if self.log.of(item.key).state == "open":
            raise UsageError("other readers are shown once you have accepted or rejected this frame")
        found = {}
        for name, decisions in other_readers(self.folder, self.log.reader):
            decision = decisions.get(item.key)
            if decision is not None and decision.state == "accepted":
                found[name] = decision.points or self._named(item.points)
        return found

    def second(self, place: int) -> dict[str, Any]:
        """Points of a second look by the network of the run; UsageError where it is not at hand or finds none."""
        item = self.item(place)
        found = self._second.of(self._read(item.key), _stated_region(item.row))
        if found is None:
            raise UsageError("the second look finds no points")
        return {"second look": self._named(found)}

    def label(self, place: int) -> dict[str, Any]:
        """The points of the given labels; UsageError where there are none of this frame."""
        label = self.item(place).label
        if label is None:
            raise UsageError("there is no label of this frame")
        return {"label": self._named(label)}

    def keep(self, sent: Mapping[str, Any], time: str) -> dict[str, Any]:
        """Write a change that the page sent into the log, and return the frame as it stands then.

        Raises NotSavedError for one that cannot be, UsageError for an unknown frame, AopPoseError where the disk does
        not take it.
        """
        try:
            place = self.place(str(sent["source"]), int(sent["index"]))
            action, seconds = str(sent["action"]), float(sent.get("seconds") or 0)
            decision = Decision.read({"reason": "", "note": "", "saw": (), **sent})
        except (KeyError, TypeError, ValueError) as error:
            raise NotSavedError(f"expected a decision of this page, found one without {error}") from None
        if action not in ("accept", "reject", "move", "note") or not 0 <= seconds < math.inf:
            raise NotSavedError(f"expected accept, reject, move or note, found {action[:40]!r}")
        self._check(place, decision)
        with self._writing:
            self.log.append(self.items[place].key, decision, action, time, seconds)
        return self.said(place)

    def _check(self, place: int, decision: Decision) -> None:
        points = decision.points
        if points is None or set(points) != set(self.schema.points):
            raise NotSavedError(f"expected the points {', '.join(self.schema.points)}")
        if decision.state == "rejected" and not decision.reason.strip():
            raise NotSavedError("a rejected frame needs a reason")
        coords = np.array([points[name] or (math.nan, math.nan) for name in self.schema.points])
        missing = [name for name in self.schema.points if points[name] is None]
        if decision.state == "accepted" and missing:
            raise NotSavedError(f"place {', '.join(missing)} before you accept")
        try:
            shown = self._picture(place)
        except UnreadableError as error:
            if decision.state == "accepted":
                raise NotSavedError(f"a frame that cannot be seen cannot be accepted: {error}") from None
            return
        for problem in point_problems(self.schema.points, coords, (shown.width, shown.height)):
            if decision.state == "accepted" or "inside" in problem:
                raise NotSavedError(problem)

    def undo(self, time: str) -> dict[str, Any] | None:
        """Take back the last change of this reader; the frame as it stands then, None where nothing is left."""
        with self._writing:
            key = self.log.undo(time)
        return None if key is None else self.said(self.place(*key))

    def _named(self, points: np.ndarray) -> dict[str, tuple[float, float] | None]:
        return {
            name: (float(x), float(y)) if math.isfinite(x) and math.isfinite(y) else None
            for name, (x, y) in zip(self.schema.points, points, strict=True)
        }


def _quantity(schema: Schema, rows: Sequence[Row]) -> Quantity:
    """The quantity to doubt: the main one that some row states, else the main one in pixels or degrees."""
    stated = [one for one in schema.quantities if any(row.get(one.column) for row in rows)]
    found = main_quantity(stated) or main_quantity([one for one in schema.quantities if one.unit != "mm"])
    assert found is not None
    return found


def _number(row: Row, column: str) -> float:
    try:
        return float(row.get(column) or "nan")
    except ValueError:
        return math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _interval(row: Row, quantity: Quantity) -> tuple[float, float]:
    return _number(row, f"{quantity.stem}_low"), _number(row, f"{quantity.stem}_high")


def _region(row: Row, frame: Frame) -> Region | None:
    """The region that a row states, None where it states none or all of the frame."""
    region = _stated_region(row)
    return None if region is None or region.box == Region.whole(*frame.shape).box else region


def _stated_region(row: Row) -> Region | None:
    box = [_number(row, column) for column in REGION]
    if not all(map(math.isfinite, box)):
        return None
    x, y, width, height = map(int, box)
    return Region(x, y, width, height)


def _scale(row: Row) -> tuple[float, float] | None:
    """Millimetres per pixel along x and y that a row states."""
    x, y = (_number(row, column) for column in ORIGIN[:2])
    return (x, y) if math.isfinite(x) and math.isfinite(y) else None
