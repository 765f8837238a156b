"""Files as they come: a folder that is watched, and a DICOM node that receives into one.

What an export drops there is measured once, when it has settled. The node answers C-ECHO and C-STORE, from this
machine alone unless told otherwise, and may hand reports on to another one.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from aop_pose.clinic.cine import write_cines
from aop_pose.clinic.report import write_reports
from aop_pose.core.results import Result
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference.volume_predictor import VolumePredictor
from aop_pose.inference.weights import AnyPredictor
from aop_pose.io.clinic.dicom import INSTALL, quiet
from aop_pose.io.clinic.study import SALT, Salt, expand, is_copy
from aop_pose.io.discover import discover
from aop_pose.io.files import remove_leftovers, replacing
from aop_pose.io.folders import TABLE, claim, locked
from aop_pose.io.table import ResultsWriter, iter_results
from aop_pose.measuring.folder import Pictures, measured_rows
from aop_pose.measuring.images import Frames
from aop_pose.measuring.measurer import Measurer

SETTLE_S = 5.0
"""Seconds without a change after which a file counts as written."""
PATIENCE = 10
"""Times as long is waited before a file that cannot be read gets its row: a slow copy may still be under way."""

Stamp = tuple[int, int]


@attrs.define
class Watcher:
    """A folder and the table that its files go into; a row a frame, whatever happens in between.

    What stands in the table is not measured again, after an interruption, a kill or a restart; nor is a DICOM file that
    comes again under another name. One process at a time writes to ``out``.
    """

    model: AnyPredictor
    folder: Path
    out: Path
    settle: float = SETTLE_S
    overlay: bool = True
    keep_identifiers: bool = False
    on_row: Callable[[Result], None] = lambda result: None
    on_trouble: Callable[[str], None] = lambda reason: None
    """Is told in one line what keeps it from writing, once until it writes again."""
    on_look: Callable[[], None] = lambda: None
    """Is called after each look at the folder, when the rows of what had settled stand."""
    _seen: dict[Path, Stamp] = attrs.field(factory=dict, init=False)
    """Size and time of each file at the last look."""
    _finished: dict[Path, Stamp] = attrs.field(factory=dict, init=False)
    _traced: bool = attrs.field(default=False, init=False)
    """The traces of all cines in the table are there."""

    def run(self, once: bool = False, stopped: Callable[[], bool] = lambda: False) -> None:
        """Watch until ``stopped``; ``once``: until every file that is there has settled and has its rows.

        UsageError where the folder is none, ``out`` lies in it, or ``out`` holds another run or is in use.
        """
        if not self.folder.is_dir():
            raise UsageError(f"expected a folder to watch, found none at {self.folder}")
        if self.out.resolve().is_relative_to(self.folder.resolve()):
            raise UsageError(f"--out: {self.out} lies in the watched folder; choose another one")
        if isinstance(self.model, VolumePredictor):
            raise UsageError("watch measures frames; the artefact measures volumes: name another one")
        measurer, salt = Measurer(self.model), Salt.of(self.out)
        watched = str(self.folder) if self.keep_identifiers else salt.name(os.path.abspath(self.folder))
        identity = {"model": self.model.model_id, "watched": watched, "overlay": self.overlay, **measurer.facts}
        with locked(self.out):
            resume = claim(self.out, identity, overwrite=False)
            if not self.keep_identifiers and not (self.out / SALT).is_file():
                salt.keep(self.out)
            with ResultsWriter(self.out / TABLE, self.model.schema, resume=resume) as writer:
                troubled = False
                while not stopped():
                    try:
                        idle = self._look(measurer, writer, salt)
                        self.on_look()
                        troubled = False
                    except (AopPoseError, OSError) as error:
                        if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
                            raise
                        if not troubled:
                            full = f"{self.out}: {error.strerror}" if isinstance(error, OSError) else str(error)
                            self.on_trouble(f"{full}; trying again")
                        troubled, idle = True, False
                    if once and idle:
                        return
                    _pause(self.settle, stopped)

    def _look(self, measurer: Measurer, writer: ResultsWriter, salt: Salt) -> bool:
        """Measure what has settled since the last look; True where nothing is left to wait for."""
        kind = Frames.of(None, keep_identifiers=self.keep_identifiers)
        found = discover([self.folder])
        stamps = {entry.path: stamp for entry in found.entries if (stamp := _stamp(entry.path)) is not None}
        new = [entry for entry in found.entries if stamps.get(entry.path) not in (None, self._finished.get(entry.path))]
        settled = [entry for entry in new if self._has_settled(entry.path, stamps[entry.path])]
        self._seen = stamps
        waiting = len(settled) < len(new)
        if settled:
            young = {entry.path for entry in settled if _age(stamps[entry.path]) < PATIENCE * self.settle}
            named = kind.named(attrs.evolve(found, entries=expand(settled)), salt)
            entries = [entry for entry in named.entries if not is_copy(entry)]
            paths = {entry.source: entry.path for entry in entries}
            too_early: set[Path] = set()
            done, moving = frozenset(writer.done), set[str]()
            for result, _ in measured_rows(measurer, kind, entries, Pictures(self.out, self.overlay), done):
                path = paths[result.source]
                if result.status == "unreadable" and path in young:
                    too_early.add(path)
                    continue
                writer.write(result)
                self.on_row(result)
                if result.time_s is not None:
                    moving.add(result.source)
            # After a full disk, too, what is missing is written.
            self._traced = self._traced and not moving
            if not self._traced:
                write_cines(self.out, only=moving)
                self._traced = True
            self._finished |= {entry.path: stamps[entry.path] for entry in settled if entry.path not in too_early}
            waiting = waiting or bool(too_early)
        return not waiting

    def _has_settled(self, path: Path, stamp: Stamp) -> bool:
        return self._seen.get(path) == stamp and _age(stamp) >= self.settle


def _stamp(path: Path) -> Stamp | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns


def _age(stamp: Stamp) -> float:
    """Seconds since a file was changed; a time in the future counts as long ago."""
    passed = time.time() - stamp[1] / 1e9
    return passed if passed >= 0 else float("inf")


def _pause(seconds: float, stopped: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not stopped() and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))


INCOMING, MEASURED = "incoming", "results"
"""Folders in ``--out``: files as they came, for their owner alone, and the run over them."""
PORT, TITLE = 11112, "AOPPOSE"
_VERIFICATION = "1.2.840.10008.1.1"
_IMAGES = (
    "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.6",
    "1.2.840.10008.5.1.4.1.1.3", "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.2",
    "1.2.840.10008.5.1.4.1.1.7.4",
)  # fmt: skip
"""Ultrasound and secondary captures, single and multi-frame, the retired ultrasound classes among them."""
_SYNTAXES = [
    "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5",
    *(f"1.2.840.10008.1.2.4.{end}" for end in (50, 51, 57, 70, 80, 81, 90, 91)),
]  # fmt: skip
_SECONDARY_CAPTURE, _COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.88.33"
_SUCCESS, _NO_ROOM, _NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000

logging.getLogger("pynetdicom").addHandler(logging.NullHandler())


def is_loopback(host: str) -> bool:
    """True for an address that only this machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_title(title: str) -> None:
    """UsageError for an AE title that no node can have."""
    plain = title.isascii() and title.isprintable() and "\\" not in title
    if not (plain and title.strip() and len(title) <= 16):
        raise UsageError(f"expected an AE title of 1 to 16 characters, found {title!r}")


@attrs.frozen
class Listener:
    """A node: where it listens, by which name it is called, and who may call it."""

    out: Path
    host: str = "127.0.0.1"
    port: int = PORT
    title: str = TITLE
    callers: Sequence[str] = ()
    """AE titles that may send; none = any."""
    on_file: Callable[[str], None] = lambda name: None
    """Is told the name of each file that was stored."""

    def __attrs_post_init__(self) -> None:
        for title in (self.title, *self.callers):
            check_title(title)

    @property
    def incoming(self) -> Path:
        return self.out / INCOMING

    @contextmanager
    def serving(self) -> Iterator[int]:
        """Receive while the block runs; gives the port. UsageError where it is taken, or pynetdicom is missing."""
        try:
            from pynetdicom import AE, evt
        except ImportError:
            raise UsageError(f"nothing can be received; {INSTALL}") from None
        self.incoming.mkdir(parents=True, exist_ok=True)
        os.chmod(self.incoming, 0o700)
        remove_leftovers(self.incoming)
        salt = Salt.of(self.out / MEASURED)
        if not (self.out / MEASURED / SALT).is_file():
            salt.keep(self.out / MEASURED)
        node: Any = AE(ae_title=self.title)
        node.require_called_aet = True
        node.require_calling_aet = list(self.callers)
        node.add_supported_context(_VERIFICATION)
        for kind in _IMAGES:
            node.add_supported_context(kind, _SYNTAXES)
        handlers = [(evt.EVT_C_ECHO, lambda event: _SUCCESS), (evt.EVT_C_STORE, lambda event: self._store(event, salt))]
        try:
            server = node.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UsageError(f"--port: {self.port} is taken by another program; give another one") from None
            raise UsageError(f"--host: cannot listen on {self.host}:{self.port}: {error.strerror}") from None
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()

    def _store(self, event: Any, salt: Salt) -> int:
        """Keep a file as it came, under a name that says nothing; the status of the answer."""
        try:
            name = salt.name(str(event.request.AffectedSOPInstanceUID))
            with replacing(self.incoming / f"{name}.dcm") as part:
                part.write_bytes(event.encoded_dataset())
                os.chmod(part, 0o600)
        except OSError:
            return _NO_ROOM
        except Exception:
            return _NOT_UNDERSTOOD
        self.on_file(name)
        return _SUCCESS


SENT = ".sent"
"""In the folder of a run: names of the files whose reports another node has taken, one a line."""


@attrs.define
class Sender:
    """Reports of measured files to another node: a structured report and a picture each, once."""

    frames: Path
    """The files that were measured."""
    results: Path
    """The folder of the run."""
    title: str
    host: str
    port: int
    calling: str = TITLE
    _size: int = attrs.field(default=-1, init=False)
    """Bytes of the table when everything in it had been sent."""

    @classmethod
    def to(cls, address: str, frames: Path, results: Path, calling: str) -> Sender:
        """``AET@HOST:PORT``; UsageError for anything else."""
        title, at, place = address.partition("@")
        host, colon, port = place.rpartition(":")
        if not (at and colon and host and port.isdigit() and 0 < int(port) < 65536):
            raise UsageError(f"--send-to: expected AET@HOST:PORT, found {address!r}")
        check_title(title)
        return cls(frames, results, title, host, int(port), calling)

    def send(self) -> int:
        """Send what has not been sent; the number of files taken. AopPoseError where the node does not answer."""
        table, sent = self.results / TABLE, self.results / SENT
        if table.stat().st_size == self._size:
            return 0
        size = table.stat().st_size
        done = set(sent.read_text().split()) if sent.exists() else set()
        new = {row["source"] for row in iter_results(table) if row["status"] == "ok"} - done
        if new:
            # Files without the UIDs of a study, or gone meanwhile, have no report now or later.
            with tempfile.TemporaryDirectory() as folder, suppress(UsageError):
                write_reports(self.results, self.frames, Path(folder) / "reports", only=new)
                self._store(sorted((Path(folder) / "reports").iterdir()))
            with open(sent, "a", encoding="utf-8") as stream:
                stream.writelines(f"{source}\n" for source in sorted(new))
        self._size = size
        return len(new)

    def _store(self, paths: Sequence[Path]) -> None:
        with quiet() as pydicom:
            from pynetdicom import AE

            node = AE(ae_title=self.calling)
            for kind in (_COMPREHENSIVE_SR, _SECONDARY_CAPTURE):
                node.add_requested_context(kind, _SYNTAXES[0])
            peer = node.associate(self.host, self.port, ae_title=self.title)
            if not peer.is_established:
                raise AopPoseError(f"--send-to: {self.title}@{self.host}:{self.port} does not answer or refuses")
            try:
                for path in paths:
                    status = peer.send_c_store(pydicom.dcmread(path))
                    if not status or status.Status != _SUCCESS:
                        raise AopPoseError(f"--send-to: {self.title} does not take a report")
            finally:
                peer.release()
