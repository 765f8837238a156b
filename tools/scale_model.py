#!/usr/bin/env python
"""The cost of an archive: from that of a frame, measured, to hours of 10^6 and 10^8 frames on 1 to 1000 machines.

A run is three stations behind each other: the storage, which gives so many bytes and opens so many files a second
for all machines together; the workers, one a core; and the driver, which puts rows into the table.
The slowest station is the limit that binds, and has its name in the table. A simulation of the queue, part by part with
scattered times, says how far the closed form is off; ``--runs`` measures here with workers of Ray.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import attrs

from aop_pose.core.results import columns
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference.predictor import Predictor
from aop_pose.inference.weights import load
from aop_pose.io.discover import Entry, discover
from aop_pose.io.images import read_frames
from aop_pose.io.table import ResultsWriter
from aop_pose.measuring.folder import Pictures, Presence, predict
from aop_pose.measuring.images import Frames
from aop_pose.measuring.measurer import Measurer
from aop_pose.measuring.runners import MOST_PARTS, PART, Part, Ray, Work, _entered, identity_of

FRAMES, MACHINES = (10**6, 10**8), (1, 10, 100, 1000)


@attrs.frozen
class Costs:
    """Of a frame, in seconds of one core, and what a run costs besides."""

    measure: float
    """Reading, network and row, in a worker."""
    read: float
    """The part of it that is reading and decoding."""
    write: float
    """The part of it that is writing rows, pictures left out."""
    enter: float
    """Putting a row into the table, in the driver."""
    bytes: float
    """Of a file."""
    part: float = 0.01
    """Of a part in the driver: its task, its file."""
    start: float = 15.0
    """Of a run: Ray, and a network in every worker."""


@attrs.frozen
class Storage:
    """For all machines together."""

    bytes: float = 1e9
    files: float = 3000.0


@attrs.frozen
class Estimate:
    """A run of an archive."""

    seconds: float
    core_seconds: float
    limit: str
    """The station that is the slowest."""


def part_size(frames: int) -> int:
    """Frames of a part, as ``measuring.runners.parts_of`` cuts them."""
    return max(PART, -(-frames // MOST_PARTS))


def rates(costs: Costs, storage: Storage, frames: int, cores: int) -> dict[str, float]:
    """Frames a second that each station could do alone."""
    return {
        "workers": cores / costs.measure,
        "storage: bytes": storage.bytes / costs.bytes,
        "storage: small files": storage.files,
        "driver": 1 / (costs.enter + costs.part / part_size(frames)),
    }


def estimate(costs: Costs, storage: Storage, frames: int, cores: int) -> Estimate:
    """Closed form: the slowest station is never idle, and the last part waits for nobody."""
    each = rates(costs, storage, frames, cores)
    limit = min(each, key=lambda name: each[name])
    size = part_size(frames)
    # Where there are fewer parts than cores, some cores have nothing to do.
    rounds = math.ceil(math.ceil(frames / size) / cores) * size * costs.measure
    last = size * costs.measure if limit != "workers" else 0.0
    work = rounds if limit == "workers" else frames / each[limit]
    return Estimate(costs.start + work + last, frames * costs.measure, limit)


def simulate(costs: Costs, storage: Storage, frames: int, cores: int, scatter: float = 0.1, seed: int = 0) -> float:
    """Seconds of the same run, part by part: storage and driver serve one part after another, workers side by side.

    ``scatter``: standard deviation of a worker's time for a part, as a share of it.
    """
    dice, size = random.Random(seed), part_size(frames)
    parts = math.ceil(frames / size)
    free = [costs.start] * min(cores, parts)
    fetched, ended, done, order = costs.start, dict[int, float](), costs.start, 0
    for number in range(parts):
        count = min(size, frames - number * size)
        begin = heapq.heappop(free)
        fetched = max(fetched, begin) + count * max(costs.bytes / storage.bytes, 1 / storage.files)
        # Files are read while the ones before are measured: a part ends when both are over.
        worked = begin + count * costs.measure * max(0.1, dice.gauss(1.0, scatter))
        ended[number] = max(worked, fetched)
        heapq.heappush(free, ended[number])
        while order in ended and len(ended) > 2 * cores:
            done, order = _enter(costs, ended.pop(order), done, size), order + 1
    for number in sorted(ended):
        done = _enter(costs, ended[number], done, size)
    return done


def _enter(costs: Costs, ended: float, done: float, size: int) -> float:
    return max(done, ended) + size * costs.enter + costs.part


def measured_costs(model: Predictor, entries: Sequence[Entry], scratch: Path) -> Costs:
    """Processor time a frame of this process, over all entries, in one thread."""
    measurer, kind = Measurer(model), Frames(None)
    work = Work(partial(load), identity_of(model), {}, kind, Pictures(scratch, overlay=False), None, "csv")
    part = Part(0, entries, len(entries))
    work.folder.mkdir(parents=True)
    read = _seconds(lambda: [list(read_frames(entry)) for entry in entries])
    begin = time.process_time()
    file = work.measure(measurer, part)
    whole = time.process_time() - begin
    with ResultsWriter(scratch / "table.csv", model.schema, resume=False) as writer:
        enter = _seconds(lambda: list(_entered(writer, file, part, Presence(entries))))
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines[0].split(b",")) == len(columns(model.schema))
    write = _seconds(lambda: _append(scratch / "rows", lines))
    size = sum(entry.path.stat().st_size for entry in entries) / len(entries)
    count = len(entries)
    return Costs(whole / count, read / count, write / count, enter / count, size)


def _append(file: Path, lines: Sequence[bytes]) -> None:
    with open(file, "ab", buffering=0) as stream:
        for line in lines:
            stream.write(line)


def _seconds(work: object) -> float:
    begin = time.process_time()
    work()  # type: ignore[operator]
    return time.process_time() - begin


def measured_runs(weights: str, folder: Path, workers: Sequence[int], scratch: Path) -> dict[int, tuple[float, float]]:
    """Seconds of a run with so many workers of Ray on this machine: until its first row, and from there to its end."""
    opener = partial(load, weights, threads=1)
    found = {}
    for count in workers:
        begin, rows = time.perf_counter(), list[float]()
        predict(
            opener(), folder, scratch / f"{count}", overlay=False, runner=Ray(opener), workers=count,
            on_row=lambda row, files, rows=rows: rows.append(time.perf_counter()),
        )  # fmt: skip
        found[count] = rows[0] - begin, rows[-1] - rows[0]
    return found


def as_markdown(costs: Costs, storage: Storage, cores: int) -> str:
    """The table of docs/cost.md."""
    lines = ["| frames | machines | time | core hours | limit | simulation |", "| --- | --- | --- | --- | --- | --- |"]
    for frames in FRAMES:
        for machines in MACHINES:
            one = estimate(costs, storage, frames, machines * cores)
            ratio = simulate(costs, storage, frames, machines * cores) / one.seconds
            hours, core_hours = one.seconds / 3600, one.core_seconds / 3600
            cells = (
                f"{frames:.0e}",
                str(machines),
                f"{hours:.2f} h",
                f"{core_hours:.0f}",
                one.limit,
                f"{ratio:.2f} of it",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Example: python tools/scale_model.py --frames psfhs/images --runs 1 2 4"
    )
    parser.add_argument("--frames", type=Path, required=True, metavar="DIR")
    parser.add_argument("--count", type=int, default=100, help="frames that are measured")
    parser.add_argument("--weights", default="aop-fast")
    parser.add_argument("--cores", type=int, default=2, help="of a machine")
    parser.add_argument("--bytes", type=float, default=Storage().bytes, help="that the storage gives a second")
    parser.add_argument("--files", type=float, default=Storage().files, help="that the storage opens a second")
    parser.add_argument(
        "--runs", type=int, nargs="*", default=[], metavar="N", help="measure here with N workers of Ray"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    try:
        entries = discover([given.frames]).entries[: given.count]
        model = load(given.weights, threads=1)
        if not entries or not isinstance(model, Predictor):
            raise UsageError("--frames, --weights: expected frames and what measures frames")
        with tempfile.TemporaryDirectory() as folder:
            costs = measured_costs(model, entries, Path(folder) / "costs")
            runs = measured_runs(given.weights, given.frames, given.runs, Path(folder))
    except AopPoseError as error:
        print(f"scale_model: error: {error}", file=sys.stderr)
        return error.exit_code
    storage = Storage(given.bytes, given.files)
    print(f"a frame: {', '.join(f'{name} {value:.4g}' for name, value in attrs.asdict(costs).items())}")
    print(as_markdown(costs, storage, given.cores))
    for count, (first, rest) in runs.items():
        print(f"{count} workers here: first row after {first:.1f} s, the rest in {rest:.1f} s")
    if given.json is not None:
        given.json.write_text(json.dumps({"costs": attrs.asdict(costs), "runs": runs}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
