"""Damaged and made-up inputs for every reader: ``python tools/fuzz.py --each 10000 --state fuzz.json``.

Good files of each kind are changed at random (bits, cuts, insertions, chunks twice, extreme numbers, halves of two
files; where a format has checksums they are made right again, so that what lies behind them is reached) and read in a
process of its own. Counted are: read; refused by name; and what must never be: a traceback, a crash, more than 10
seconds of processor time, more than 1 GB of memory. Every input is made from the seed, its reader and its number:
``--show frames 1234 --out FILE`` writes it again. A run that is stopped goes on where its state file ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import attrs

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lib.fuzz_readers import READERS, Reader
from lib.mutants import mutated

READ, REFUSED, TRACEBACK, CRASH, HANG, MEMORY = "read", "refused", "traceback", "crash", "hang", "memory"
OUTCOMES = (READ, REFUSED, TRACEBACK, CRASH, HANG, MEMORY)
SECONDS = 10.0
"""Of processor time, since other programs run beside this one."""
MEGABYTES = 1000
_WALL_SECONDS = 120.0
_ADDRESS_SPACE = 4 << 30
_SAVED_EVERY = 200
_MOST_KEPT = 200


@attrs.define
class State:
    """What a run has done, as it stands in its file."""

    seed: int
    done: dict[str, int] = attrs.field(factory=dict)
    counts: dict[str, Counter[str]] = attrs.field(factory=dict)
    found: list[dict[str, Any]] = attrs.field(factory=list)
    """Reader, number, outcome and last words of each input that must not be."""

    @classmethod
    def of(cls, path: Path | None, seed: int) -> State:
        """The state in a file, or a fresh one."""
        if path is None or not path.exists():
            return cls(seed)
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["seed"] != seed:
            raise SystemExit(f"{path}: expected the state of seed {seed}, found that of seed {known['seed']}")
        counts = {name: Counter(each) for name, each in known["counts"].items()}
        return cls(seed, known["done"], counts, known["found"])

    def save(self, path: Path | None) -> None:
        """Replace the file."""
        if path is not None:
            part = path.with_suffix(".part")
            part.write_text(json.dumps(attrs.asdict(self), indent=1), encoding="utf-8")
            os.replace(part, path)

    def add(self, reader: str, number: int, outcome: str, said: str) -> None:
        """Count one input."""
        self.done[reader] = number + 1
        self.counts.setdefault(reader, Counter())[outcome] += 1
        if outcome not in (READ, REFUSED) and len(self.found) < _MOST_KEPT:
            self.found.append({"reader": reader, "number": number, "outcome": outcome, "said": said})


def outcome_of(reader: Reader, folder: Path, files: list[Path], seed: int, number: int) -> tuple[str, str]:
    """Read input ``number`` in this process; (outcome, last words). The file stands again as it was afterwards."""
    path, data = mutated(files, (seed, reader.name, number))
    whole = path.read_bytes()
    before = time.process_time()
    _forget_peak()
    held = _peak_megabytes()
    try:
        path.write_bytes(data)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            outcome, said = (READ if reader.read(folder, path) else REFUSED), ""
    except Exception:
        outcome, said = TRACEBACK, traceback.format_exc()[-1500:]
    finally:
        path.write_bytes(whole)
    # Beyond what the process held before, which in a test may be much.
    if (taken := _peak_megabytes() - held) > MEGABYTES:
        outcome, said = MEMORY, f"{taken:.0f} MB"
    if time.process_time() - before > SECONDS:
        outcome, said = HANG, f"{time.process_time() - before:.0f} s"
    return outcome, said


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_megabytes() -> float:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def _work(name: str, seed: int, pipe: Connection) -> None:
    """The process of one reader: numbers come in, outcomes go out."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What libraries written in C print of damaged files.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = reader.prepare(folder)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + _ADDRESS_SPACE, resource.RLIM_INFINITY))
        pipe.send("ready")
        while (number := pipe.recv()) is not None:
            pipe.send(outcome_of(reader, folder, files, seed, number))


class Worker:
    """A process that reads the inputs of one reader, and is replaced when it dies or hangs."""

    def __init__(self, reader: str, seed: int) -> None:
        self.pipe, theirs = multiprocessing.get_context("spawn").Pipe()
        self.process = multiprocessing.get_context("spawn").Process(
            target=_work, args=(reader, seed, theirs), daemon=True
        )
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def read(self, number: int) -> tuple[str, str]:
        """Outcome and last words of an input; after CRASH and HANG the worker is dead."""
        self.pipe.send(number)
        began, before = time.monotonic(), self._processor_seconds()
        while not self.pipe.poll(1.0):
            if self._processor_seconds() - before > SECONDS or time.monotonic() - began > _WALL_SECONDS:
                self.process.kill()
                return HANG, f"killed after {time.monotonic() - began:.0f} s"
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            return CRASH, f"exit {self.process.exitcode}"

    def _processor_seconds(self) -> float:
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(5)
        self.process.kill()


def run(
    readers: Iterable[str], each: int, state: State, path: Path | None = None, say: Callable[[str], None] = print
) -> None:
    """Read ``each`` inputs with every reader, from where the state ends."""
    for name in readers:
        worker: Worker | None = None
        for number in range(state.done.get(name, 0), each):
            worker = worker or Worker(name, state.seed)
            outcome, said = worker.read(number)
            state.add(name, number, outcome, said)
            if outcome in (CRASH, HANG):
                worker.close()
                worker = None
            if outcome not in (READ, REFUSED):
                say(f"{name} {number}: {outcome}: {said.strip().splitlines()[-1] if said.strip() else ''}")
            if number % _SAVED_EVERY == 0:
                state.save(path)
        if worker is not None:
            worker.close()
        state.save(path)


def table(state: State) -> str:
    """Counts by reader and outcome."""
    lines = [f"| reader | inputs | {' | '.join(OUTCOMES)} |", f"| {' | '.join(['---'] * (len(OUTCOMES) + 2))} |"]
    total: Counter[str] = sum(state.counts.values(), Counter())
    for name, counts in [*state.counts.items(), ("all", total)]:
        cells = [str(counts[outcome]) for outcome in OUTCOMES]
        lines.append(f"| {name} | {sum(counts.values())} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run, or show one input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=1000, help="inputs for each reader")
    parser.add_argument("--only", nargs="*", default=list(READERS), choices=list(READERS), help="readers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, help="JSON file to go on from")
    parser.add_argument("--show", nargs=2, metavar=("READER", "NUMBER"), help="read one input here, with its traceback")
    parser.add_argument("--out", type=Path, help="where --show writes the input")
    given = parser.parse_args()
    if given.show:
        show(given.show[0], int(given.show[1]), given.seed, given.out)
        return
    state = State.of(given.state, given.seed)
    try:
        run(given.only, given.each, state, given.state, lambda line: print(line, flush=True))
    finally:
        state.save(given.state)
        print(table(state))


def show(name: str, number: int, seed: int, out: Path | None) -> None:
    """Write one input, and read it in this process."""
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = reader.prepare(folder)
        path, data = mutated(files, (seed, name, number))
        print(f"{path.relative_to(folder)}: {len(data)} bytes")
        if out is not None:
            out.write_bytes(data)
        print(*outcome_of(reader, folder, files, seed, number), sep="\n")


if __name__ == "__main__":
    main()
