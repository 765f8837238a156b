"""One reader's log: a line of JSON a change, on the disk before it counts, whole again after any kill."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs
from typing_extensions import Self

from aop_pose.core.results import Row
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.io.folders import lock

FOLDER = "review"
"""Beside the table of the run: ``review/READER.jsonl``."""
VERSION = 1
STATES = ("open", "accepted", "rejected")
_READER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")

Key = tuple[str, int]
"""``source`` and ``index`` of a row."""


@attrs.frozen
class Decision:
    """Everything that a reader has said of one frame, as it stands after a change."""

    state: str = attrs.field(default="open", validator=attrs.validators.in_(STATES))
    points: Mapping[str, tuple[float, float] | None] | None = None
    """By name, x and y in pixels of the original frame, None where the point is missing; None = those of the model."""
    reason: str = ""
    """Why it was rejected."""
    note: str = ""
    saw: tuple[str, ...] = ()
    """Whose points were shown beside the reader's own: ``labels``, or other readers."""

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Decision:
        """The decision of a line of a log; ValueError, KeyError or TypeError where it is none."""
        points = line["points"]
        if points is not None:
            if not isinstance(points, Mapping):
                raise TypeError("points by name")
            points = {str(name): None if at is None else _pair(at) for name, at in points.items()}
        return cls(line["state"], points, str(line["reason"]), str(line["note"]), tuple(map(str, line["saw"])))


def _pair(at: Any) -> tuple[float, float]:
    x, y = map(float, at)
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"expected a place, found {at}")
    return x, y


def check_reader(name: str) -> str:
    """The name, which becomes that of a file; UsageError where it cannot."""
    if not _READER.fullmatch(name):
        raise UsageError(f"--reader: expected up to 40 letters, digits, - and _, found {name!r}")
    return name


class Log:
    """The log of one reader, held by one process; a context manager.

    A line is written whole and reaches the disk (``fsync``) before ``append`` returns. A last line without its end, as
    kill -9 or a power cut leaves it, is cut off when the log is opened; ``repaired`` says so.

    Args:
        folder: of the run.
        reader: whose log it is.
        about: what the log is of (schema, model). A log of anything else raises UsageError.
    """

    def __init__(self, folder: Path, reader: str, about: Mapping[str, str]) -> None:
        self.reader = check_reader(reader)
        self.path = folder / FOLDER / f"{reader}.jsonl"
        self.decisions: dict[Key, Decision] = {}
        self.seconds: list[float] = []
        """Time that each decision took, of those made so far."""
        self.repaired = ""
        self._about = {"log": "aop-pose review", "version": VERSION, "reader": reader, **about}
        self._before: list[tuple[Key, Decision]] = []
        self._stream: int | None = None

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(exist_ok=True)
            self._stream = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}; make the folder writable") from None
        try:
            self._hold()
            self._read()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            os.close(self._stream)
            self._stream = None

    def _hold(self) -> None:
        assert self._stream is not None
        try:
            lock(self._stream)
        except (BlockingIOError, PermissionError):
            raise UsageError(
                f"another review of reader {self.reader} is open; go on there, close it, or give another --reader"
            ) from None
        except OSError:
            # A file system without locks.
            pass

    def _read(self) -> None:
        assert self._stream is not None
        text = self.path.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            os.ftruncate(self._stream, whole)
            self.repaired = f"{self.path}: the last line was cut off half-way, and is removed; all before it stands"
        lines = text[:whole].splitlines()
        if not lines:
            self._write(self._about)
            self._keep_folder()
            return
        head = _parsed(lines[0])
        other = [key for key, value in self._about.items() if head.get(key) != value]
        if other:
            found = ", ".join(f"{key} {str(head.get(key, 'unknown'))[:60]!r}" for key in other)
            expected = ", ".join(f"{key} {self._about[key]!r}" for key in other)
            raise UsageError(f"{self.path}: expected a log of {expected}, found {found}; move it away to begin anew")
        for number, line in enumerate(lines[1:], start=2):
            said = _parsed(line)
            try:
                self._note((str(said["source"]), int(said["index"])), Decision.read(said), said)
            except (KeyError, TypeError, ValueError, IndexError):
                raise UsageError(
                    f"{self.path}:{number} is no line of a review; repair it, or move the log away to begin anew"
                ) from None

    def _keep_folder(self) -> None:
        """The name of a new file is on the disk only with its folder."""
        if os.name == "posix":
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def of(self, key: Key) -> Decision:
        """The last decision on a frame, one that says nothing where there is none."""
        return self.decisions.get(key, Decision())

    def append(self, key: Key, decision: Decision, action: str, time: str, seconds: float = 0.0) -> None:
        """Add a change; AopPoseError where the disk does not take it, and the log stays whole."""
        source, index = key
        line = {
            "time": time, "source": source, "index": index, "action": action, **attrs.asdict(decision),
            "seconds": round(seconds, 1),
        }  # fmt: skip
        self._write(line)
        self._note(key, decision, line)

    def undo(self, time: str) -> Key | None:
        """Take back the last change that still stands, by a line of its own; the frame it was of, None = there is none.

        Raises AopPoseError where the disk does not take the line.
        """
        if not self._before:
            return None
        key, before = self._before[-1]
        self.append(key, before, "undo", time)
        return key

    def _note(self, key: Key, decision: Decision, line: Mapping[str, Any]) -> None:
        if line["action"] == "undo":
            self._before.pop()
        else:
            self._before.append((key, self.of(key)))
        if line["action"] in ("accept", "reject"):
            self.seconds.append(float(line["seconds"]))
        self.decisions[key] = decision

    def _write(self, line: Mapping[str, Any]) -> None:
        assert self._stream is not None, "a log is used inside its with block"
        size = os.fstat(self._stream).st_size
        text = json.dumps(line, allow_nan=False).encode() + b"\n"
        try:
            written = os.write(self._stream, text)
            if written == len(text):
                os.fsync(self._stream)
                return
            reason = "the disk is full"
        except OSError as error:
            reason = error.strerror or str(error)
        os.ftruncate(self._stream, size)
        raise AopPoseError(f"{self.path} cannot be written: {reason}; make room, then try again")


def _parsed(line: bytes) -> dict[str, Any]:
    """A line as a mapping, an empty one where it is none."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def models_of(rows: Iterable[Row]) -> str:
    """The models that rows name, as a log says of which it is."""
    return ", ".join(sorted({row.get("model", "") for row in rows} - {""}))


def decisions_of(path: Path) -> tuple[dict[str, Any], dict[Key, Decision]]:
    """The subject of a log, and its decisions; half a line, as a reader at work leaves it, is no line. UsageError."""
    decisions: dict[Key, Decision] = {}
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    for line in lines:
        said = _parsed(line)
        try:
            decisions[str(said["source"]), int(said["index"])] = Decision.read(said)
        except (KeyError, TypeError, ValueError):
            continue
    return _parsed(lines[0]), decisions


def other_readers(folder: Path, but: str) -> Iterator[tuple[str, dict[Key, Decision]]]:
    """Name and decisions of each other reader of a run."""
    for path in sorted((folder / FOLDER).glob("*.jsonl")):
        if path.stem != but:
            yield path.stem, decisions_of(path)[1]
