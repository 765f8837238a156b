"""Runners beside the one of this process: ``Ray`` spreads the files of a run over the workers of Ray (extra ``ray``).

The files are cut into parts, always at the same places. A worker measures a part and leaves its rows in one file, whose
name says which part it is and what is in it; this process puts the rows into the table, part after part. So the table
grows by whole rows in the order of the files however many workers there are, and what a kill leaves is used: rows that
stand in the table, and parts that stand whole.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

import aop_pose
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference.engine import usable_cores
from aop_pose.inference.weights import AnyPredictor
from aop_pose.io.discover import Entry
from aop_pose.io.files import remove_leftovers
from aop_pose.io.folders import PARTS
from aop_pose.io.table import ResultsWriter, iter_results, write_parquet
from aop_pose.measuring.folder import Pictures, Presence, measured_rows, remaining
from aop_pose.measuring.images import Kind
from aop_pose.measuring.measurer import Measurer
from aop_pose.measuring.summary import ContactSheets

PART = 64
"""Files of a part."""
MOST_PARTS = 10_000
"""Beyond it parts hold more files: the driver of Ray keeps some kilobytes a part."""
CPUS = 0.5
"""Of a worker: what it leaves is for Ray's own tasks, without which nothing begins."""
TRIES = 5
"""Of a part whose worker was killed: Ray would go on for ever, and a file may be what kills it."""
STORE = 100_000_000
"""Bytes of shared memory: paths pass through it, no pictures."""


@attrs.frozen
class Part:
    """Consecutive files of a run."""

    number: int
    entries: Sequence[Entry]
    behind: int
    """Files of the run up to its last one."""

    @property
    def key(self) -> str:
        """The beginning of the name of its file: its place, and a hash of what has to be measured."""
        said = "\0".join(f"{one.path}\0{one.member}\0{one.source}\0{one.sop}" for one in self.entries)
        return f"{self.number:06d}-{_digest(said.encode('utf-8', 'surrogateescape'))}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def parts_of(entries: Sequence[Entry], several: bool = True) -> list[Part]:
    """The parts of a run; ``several`` as ``Kind`` has it: volumes are parts of their own."""
    size = max(PART if several else 1, -(-len(entries) // MOST_PARTS))
    return [
        Part(number, entries[begin : begin + size], min(begin + size, len(entries)))
        for number, begin in enumerate(range(0, len(entries), size))
    ]


def whole_file(folder: Path, part: Part) -> Path | None:
    """The file of a part, where it stands as it was written; what is damaged is removed."""
    for file in folder.glob(f"{part.key}-*"):
        with suppress(OSError):
            if file.stem == f"{part.key}-{_digest(file.read_bytes())}":
                return file
            file.unlink()
    return None


@attrs.frozen
class Work:
    """The task of every worker, but for its parts; it is sent to other processes."""

    opener: Callable[[], AnyPredictor]
    identity: tuple[str, str, str]
    """Version of this package, model and engine, which a worker must have too."""
    settings: dict[str, Any]
    kind: Kind
    pictures: Pictures
    batch: int | None
    format: str

    @property
    def folder(self) -> Path:
        return self.pictures.out / PARTS

    def measure(self, measurer: Measurer, part: Part) -> Path:
        """Measure a part and write its file, which appears when it is complete."""
        standing = whole_file(self.folder, part)
        if standing is not None:
            return standing
        self._note_try(part)
        # Names that ``io.files.remove_leftovers`` knows; two machines may be at the same part after one was lost.
        rows, table = (self.folder / f".{part.key}.{secrets.randbits(60)}.tmp" for _ in range(2))
        try:
            with ResultsWriter(rows, measurer.predictor.schema, resume=False) as writer:
                for result, _ in measured_rows(
                    measurer, self.kind, part.entries, self.pictures, batch=self.batch, workers=1
                ):
                    writer.write(result)
            if self.format == "parquet":
                write_parquet(table, rows)
                os.replace(table, rows)
            made = self.folder / f"{part.key}-{_digest(rows.read_bytes())}.{self.format}"
            os.replace(rows, made)
            return made
        finally:
            for file in (rows, table):
                file.unlink(missing_ok=True)

    def _note_try(self, part: Part) -> None:
        """AopPoseError where a part has ended its worker too often; its tries are the bytes of a hidden file."""
        with open(self.folder / f".{part.key}.0.tmp", "ab") as tries:
            tries.write(b".")
            if tries.tell() > TRIES:
                first, last = part.entries[0].source, part.entries[-1].source
                raise AopPoseError(f"{TRIES} workers ended while they measured {first} to {last}; leave the file out")


class Worker:
    """One predictor, in a process of Ray's."""

    def __init__(self, work: Work) -> None:
        predictor = work.opener()
        found = identity_of(predictor)
        if found != work.identity:
            own = " ".join(work.identity)
            raise UsageError(f"a worker has {' '.join(found)}, this process {own}; install the same on every machine")
        self._work, self._measurer = work, Measurer(predictor, **work.settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        files = [self._work.measure(self._measurer, part) for part in batch["item"]]
        return {"number": [part.number for part in batch["item"]], "file": [file.name for file in files]}


def identity_of(predictor: AnyPredictor) -> tuple[str, str, str]:
    """Version of this package, model, engine with its precision."""
    return aop_pose.__version__, predictor.model_id, "/".join(map(str, predictor.engine.identity.values()))


@attrs.frozen
class Ray:
    """The runner of Ray: the cluster of ``RAY_ADDRESS``, or workers of this machine.

    Args:
        opener: gives the predictor of a worker; it is sent there.
    """

    opener: Callable[[], AnyPredictor]

    def __call__(
        self,
        measurer: Measurer,
        kind: Kind,
        entries: Sequence[Entry],
        pictures: Pictures,
        writer: ResultsWriter,
        *,
        batch: int | None,
        workers: int | None,
        sheets: ContactSheets | None,
        part: str,
    ) -> Iterator[tuple[str, dict[str, str], int]]:
        """See ``measuring.folder.Runner``; AopPoseError where workers fail."""
        # Workers may stand in another folder.
        entries = [entry.absolute() for entry in entries]
        pictures = attrs.evolve(pictures, out=Path(os.path.abspath(pictures.out)))
        settings = {name: getattr(measurer, name) for name in ("coverage", "gate", "region", "looks")}
        identity = identity_of(measurer.predictor)
        work = Work(self.opener, identity, settings, kind, pictures, batch, part)
        left = {entry.source for entry in remaining(entries, writer)[0]}
        wanted = [one for one in parts_of(entries, kind.several) if any(entry.source in left for entry in one.entries)]
        work.folder.mkdir(parents=True, exist_ok=True)
        known = {one.number: file for one in wanted if (file := whole_file(work.folder, one)) is not None}
        remove_leftovers(work.folder)
        made = _made(work, [one for one in wanted if one.number not in known], workers)
        presence = Presence(entries)
        failed = AopPoseError("--runner ray: a part was not measured; run again to continue")
        try:
            for one in wanted:
                while one.number not in known:
                    try:
                        number, name = next(made)
                        known[number] = work.folder / name
                    except (AopPoseError, StopIteration) as error:
                        failed = error if isinstance(error, AopPoseError) else failed
                        # The parts before the one that failed may stand, though Ray did not say so any more.
                        file = whole_file(work.folder, one)
                        if file is None:
                            raise failed from None
                        known[one.number] = file
                yield from _entered(writer, known[one.number], one, presence)
                known.pop(one.number).unlink(missing_ok=True)
        finally:
            made.close()
        shutil.rmtree(work.folder)
        if sheets is not None:
            sheets.read()


def _entered(
    writer: ResultsWriter, file: Path, part: Part, presence: Presence
) -> Iterator[tuple[str, dict[str, str], int]]:
    """Put those rows of a part into the table that it lacks."""
    places = {entry.source: part.behind - len(part.entries) + number for number, entry in enumerate(part.entries, 1)}
    for row in iter_results(file):
        if (row["source"], int(row["index"])) not in writer.done:
            try:
                presence.check(row["status"])
            except AopPoseError:
                # What else stands there may hold such rows.
                shutil.rmtree(file.parent)
                raise
            writer.write_row([row[column] for column in writer.columns])
            yield row["source"], row, places[row["source"]]


def _made(work: Work, parts: Sequence[Part], workers: int | None) -> Generator[tuple[int, str], None, None]:
    """Number and file name of each part, as workers finish them."""
    if not parts:
        return
    with cluster(workers) as (ray, count):
        try:
            # A block a part: a block goes to one worker as a whole.
            data = ray.data.from_items([{"item": part} for part in parts], override_num_blocks=len(parts))
            done = data.map_batches(
                Worker,
                fn_constructor_args=(work,),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(count, len(parts))),
                num_cpus=CPUS,
            )
            for row in done.iter_rows():
                yield int(row["number"]), str(row["file"])
        except Exception as error:
            raise _said(error) from error


@contextmanager
def cluster(workers: int | None) -> Iterator[tuple[Any, int]]:
    """Ray, and how many workers it is asked for; UsageError where it is not installed or has no CPU.

    Without ``RAY_ADDRESS`` it starts on this machine, without its dashboard, and ends with the run. Only who knows a
    secret of this run, which is in the environment of its processes alone, may talk to it.
    """
    # Read when Ray is imported.
    if "RAY_ADDRESS" not in os.environ:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        # It complains of what Ray Data does by itself.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        if os.environ["RAY_AUTH_MODE"] == "token" and not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise UsageError(f"--runner ray: {error.name} is not installed; pip install 'aop-pose[ray]'") from None
    started = not ray.is_initialized()
    if started:
        _start(ray, workers)
    # Errors come as errors: Ray Data would write pages of them as well.
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        cpus = float(ray.cluster_resources().get("CPU", 0))
        count = workers or int(cpus)
        if cpus < count * CPUS or count < 1:
            raise UsageError(f"--runner ray: {count} workers need {count * CPUS:g} CPUs, the cluster has {cpus:g}")
        yield ray, count
    finally:
        logging.disable(before)
        if started:
            ray.shutdown()


def _start(ray: Any, workers: int | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if "RAY_ADDRESS" not in os.environ:
        # Never fewer than two: workers hold a half each, and where none was left Ray would wait without a word.
        cores = max(2, workers or usable_cores())
        quiet |= {"num_cpus": cores, "include_dashboard": False, "object_store_memory": STORE}
    for last in (False, False, True):
        try:
            ray.init(**quiet)
            break
        # Where half a minute was not enough for it to start, it says so by a bare Exception.
        except Exception as error:
            ray.shutdown()
            if last:
                raise AopPoseError(f"--runner ray: Ray does not start: {_line(error)}") from None
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def _said(error: BaseException) -> AopPoseError:
    """The error of a worker in one line: Ray gives its words, and the place in the code before them."""
    text, seen = "", error
    while seen is not None:
        text, seen = f"{text}\n{seen}", seen.__cause__ or seen.__context__  # type: ignore[assignment]
    if "No module named 'aop_pose" in text or "import of aop_pose" in text:
        return UsageError("--runner ray: a worker has no aop-pose; install the same version on every machine")
    own = _OWN.search(text)
    if own is not None:
        kind, said = own.groups()
        return UsageError(said) if kind == "UsageError" else AopPoseError(f"{said}; run again to continue")
    return AopPoseError(f"--runner ray: workers failed ({_line(error)}); run again to continue")


_OWN = re.compile(r"aop_pose\.errors\.(\w+): (.+)")


def _line(error: BaseException) -> str:
    """The last line that an error says: Ray puts the place in the code before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:200]}" if lines else type(error).__name__
