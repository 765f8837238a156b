"""Ratios of `aop-pose predict` in one call: to the bare network, to `yolo predict`, with overlays, memory, start, Ray.

Each is held against what is promised (``PROMISES``). All cases take turns, so that a busy machine is busy for each;
medians with least and most. Seconds in this process begin with a loaded model; those of whole processes hold Python's
start as well.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import cv2

from aop_pose.core.letterbox import fit
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.pictures import read_gray
from aop_pose.inference.engine import ENGINES, is_installed, usable_cores
from aop_pose.inference.predictor import Predictor, as_inputs
from aop_pose.inference.weights import load
from aop_pose.io.discover import discover
from aop_pose.measuring.folder import predict
from aop_pose.provenance import measuring_versions

BIN = Path(sys.executable).parent
OURS = [sys.executable, "-m", "aop_pose"]
# The peak of a process is asked from inside: outside it begins with that of the one that started it.
PEAK = (
    "import sys; from aop_pose.cli.main import run; from aop_pose.provenance import peak_memory_mb; "
    "code = run(sys.argv[1:]); print(peak_memory_mb()); sys.exit(code)"
)


PROMISES: dict[str, tuple[str, float]] = {
    "onnx: no gate / bare": ("at most", 1.10),
    "openvino: no gate / bare": ("at most", 1.10),
    "onnx: gate / two bare passes": ("at most", 1.15),
    "openvino: gate / two bare passes": ("at most", 1.15),
    "onnx: overlays / none": ("at most", 1.10),
    "openvino: overlays / none": ("at most", 1.10),
    "yolo predict / onnx, gate": ("at least", 1.8),
    "yolo predict / openvino, gate": ("at least", 2.0),
    "yolo predict / onnx, no gate": ("at least", 2.5),
    "yolo predict / openvino, no gate": ("at least", 2.8),
    "help": ("at most", 0.15),
    "first row": ("at most", 0.7),
    "memory at 20000 / 200 frames": ("at most", 1.05),
    "memory: 20000 frames": ("at most", 300.0),
    "local / 2 workers of Ray, start-up apart": ("at least", 0.75),
}
"""Ratio or case -> what it has to reach; seconds of cases, megabytes of memory."""


@attrs.frozen
class Case:
    """One thing that is timed."""

    name: str
    run: Callable[[Path], float]
    """Takes an empty folder, returns seconds (megabytes of a case of memory)."""
    unit: str = "s"


@attrs.frozen
class Measured:
    """The outcome of a case over all rounds."""

    median: float
    least: float
    most: float
    unit: str

    @classmethod
    def of(cls, values: Sequence[float], unit: str) -> Measured:
        return cls(statistics.median(values), min(values), max(values), unit)

    def __str__(self) -> str:
        return f"{self.median:.3g} {self.unit} ({self.least:.3g} to {self.most:.3g})"


def process(command: Sequence[str], table: Path | None = None) -> tuple[float, float]:
    """Seconds until a process ends, and until the first row stands in ``table`` (NaN without one)."""
    with tempfile.TemporaryDirectory() as settings:
        environment = {**os.environ, "YOLO_CONFIG_DIR": settings, "YOLO_OFFLINE": "true"}
        # An installed package has its bytecode; a checkout whose bytecode is not kept would be compiled at each start.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        begin, first = time.perf_counter(), math.nan
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, env=environment, **pipes) as child:
            while child.poll() is None:
                if table is not None and math.isnan(first) and table.exists() and table.read_bytes().count(b"\n") >= 2:
                    first = time.perf_counter() - begin
                time.sleep(0.005)
            seconds = time.perf_counter() - begin
            said = child.stderr.read().decode(errors="replace") if child.stderr else ""
    if child.returncode:
        raise AopPoseError(f"{' '.join(map(str, command))} ended with {child.returncode}: {said[-300:]}")
    return seconds, first


def peak(frames: Path, out: Path, weights: str) -> float:
    """Megabytes that a whole process of `aop-pose predict` holds at most."""
    words = ["predict", str(frames), "--out", str(out), "--weights", weights, "--no-overlay", "--quiet"]
    done = subprocess.run([sys.executable, "-c", PEAK, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AopPoseError(f"predict ended with {done.returncode}: {done.stderr[-300:]}")
    return float(done.stdout.split()[-1])


def repeated(entries: Sequence[Path], count: int, folder: Path, side: int | None = None) -> Path:
    """A folder of ``count`` frames, the given ones over and over, resized to ``side`` pixels where that is given."""
    folder.mkdir()
    for number in range(count):
        source = entries[number % len(entries)]
        target = folder / f"{number:06d}{source.suffix}"
        if side is None:
            shutil.copyfile(source, target)
        else:
            cv2.imwrite(str(target), cv2.resize(read_gray(source), (side, side), interpolation=cv2.INTER_CUBIC))
    return folder


def in_process(model: Predictor, frames: Path, **options: Any) -> Callable[[Path], float]:
    """Seconds of measuring a folder with a loaded model."""

    def run(out: Path) -> float:
        begin = time.perf_counter()
        predict(model, frames, out / "out", **options)
        return time.perf_counter() - begin

    return run


def bare(model: Predictor, frames: Path) -> Callable[[Path], float]:
    """Seconds of the network alone on frames that are prepared."""
    pictures = [read_gray(entry.path) for entry in discover([frames]).entries]
    shown = [as_inputs([fit(picture, model.contract.image_size)[0]]) for picture in pictures]

    def run(out: Path) -> float:
        begin = time.perf_counter()
        for one in shown:
            model.network(one)
        return time.perf_counter() - begin

    return run


def of_engine(engine: str, given: argparse.Namespace, frames: Path) -> list[Case]:
    """The bare network of an engine on all cores, and measuring with it, one thread a group of frames."""
    alone, side_by_side = (load(given.weights, threads=threads, engine=engine) for threads in (None, 1))
    if not (isinstance(alone, Predictor) and isinstance(side_by_side, Predictor)):
        raise UsageError(f"--weights: expected an artefact of frames, found {given.weights}")
    options = {"no gate": {"gate": False, "overlay": False}, "gate": {"overlay": False}, "overlays": {}}
    return [
        Case(f"{engine}: bare", bare(alone, frames)),
        *(Case(f"{engine}: {name}", in_process(side_by_side, frames, **one)) for name, one in options.items()),
    ]


def of_processes(given: argparse.Namespace, frames: Path, engines: Sequence[str]) -> list[Case]:
    """Whole processes, and where a checkpoint is given those of `yolo predict` on the same frames."""
    ours = [*OURS, "predict", str(frames), "--weights", given.weights, "--no-overlay", "--quiet"]

    def predicting(*more: str) -> Callable[[Path], float]:
        return lambda out: process([*ours, "--out", str(out / "out"), *more])[0]

    cases = [Case("help", lambda out: process([*OURS, "--help"])[0])]
    table = "out/results.csv"
    cases.append(Case("first row", lambda out: process([*ours, "--out", str(out / "out")], out / table)[1]))
    for engine in engines:
        cases.append(Case(f"process, {engine}: gate", predicting("--engine", engine)))
        cases.append(Case(f"process, {engine}: no gate", predicting("--engine", engine, "--no-gate")))
    if given.checkpoint is not None:
        size = load(given.weights).contract.image_size  # type: ignore[union-attr]
        stock = [str(BIN / "yolo"), "pose", "predict", f"model={given.checkpoint.resolve()}", f"source={frames}"]
        stock += [f"imgsz={size}", "device=cpu", "verbose=False", "save=False"]
        cases.append(Case("process: yolo predict", lambda out: process([*stock, f"project={out}"])[0]))
    return cases


def of_ray(given: argparse.Namespace, scratch: Path) -> list[Case]:
    """Seconds of Ray with so many workers on the frames of the longest curve, and on a single one: its start."""
    from aop_pose.measuring.runners import Ray

    opener = partial(load, given.weights, threads=1)
    frames = scratch / f"count-{given.counts[-1]}"
    model, one = opener(), next(frames.iterdir())
    assert isinstance(model, Predictor)
    found = []
    for workers in given.ray:
        options = {"overlay": False, "runner": Ray(opener), "workers": workers}
        found.append(Case(f"ray: start, {workers} workers", in_process(model, one, **options)))
        found.append(Case(f"ray: {workers} workers", in_process(model, frames, **options)))
    return found


def _peak_in(frames: Path, weights: str, out: Path) -> float:
    return peak(frames, out / "out", weights)


def of_sizes(given: argparse.Namespace, sources: Sequence[Path], scratch: Path) -> list[Case]:
    """Memory at two numbers of frames; seconds over the number of frames and over their pixels."""
    cases = []
    for count in given.memory:
        folder = repeated(sources, count, scratch / f"memory-{count}")
        cases.append(Case(f"memory: {count} frames", partial(_peak_in, folder, given.weights), "MB"))
    model = load(given.weights, threads=1)
    assert isinstance(model, Predictor)
    for count in given.counts:
        folder = repeated(sources, count, scratch / f"count-{count}")
        cases.append(Case(f"frames: {count}", in_process(model, folder, overlay=False)))
    for side in given.sides:
        folder = repeated(sources, given.counts[0], scratch / f"side-{side}", side)
        cases.append(Case(f"pixels: {side}", in_process(model, folder, overlay=False)))
    for workers in given.workers:
        folder = scratch / f"count-{given.counts[0]}"
        cases.append(Case(f"workers: {workers}", in_process(model, folder, overlay=False, workers=workers)))
    return cases


def ratios(
    found: dict[str, Measured], engines: Sequence[str], memory: Sequence[int], ray: Sequence[int] = (), count: int = 0
) -> dict[str, float]:
    """The ratios that are promised, of medians; those of a case that was not measured are left out.

    Args:
        memory: numbers of frames at which it was measured.
        ray: numbers of workers; their frames were ``count``, as those of one process.
    """
    wanted: dict[str, tuple[str, str, float]] = {}
    for engine in engines:
        wanted[f"{engine}: no gate / bare"] = (f"{engine}: no gate", f"{engine}: bare", 1)
        wanted[f"{engine}: gate / two bare passes"] = (f"{engine}: gate", f"{engine}: bare", 2)
        wanted[f"{engine}: overlays / none"] = (f"{engine}: overlays", f"{engine}: gate", 1)
        for what in ("gate", "no gate"):
            wanted[f"yolo predict / {engine}, {what}"] = ("process: yolo predict", f"process, {engine}: {what}", 1)
    if len(memory) > 1:
        most, least = f"memory: {memory[-1]} frames", f"memory: {memory[0]} frames"
        wanted[f"memory at {memory[-1]} / {memory[0]} frames"] = (most, least, 1)
    each = {
        name: found[above].median / (times * found[below].median)
        for name, (above, below, times) in wanted.items()
        if above in found and below in found
    }
    for workers in ray:
        if not {f"ray: {workers} workers", f"frames: {count}"} <= found.keys():
            continue
        begun = found[f"ray: {workers} workers"].median - found[f"ray: start, {workers} workers"].median
        each[f"local / {workers} workers of Ray, start-up apart"] = found[f"frames: {count}"].median / begun
    return each


def kept(document: dict[str, Any]) -> dict[str, bool]:
    """For each promise that was measured, whether it holds."""
    known = {name: one["median"] for name, one in document["measured"].items()} | document["ratios"]
    return {
        name: known[name] <= limit if which == "at most" else known[name] >= limit
        for name, (which, limit) in PROMISES.items()
        if name in known
    }


def measured(cases: Sequence[Case], rounds: int, scratch: Path) -> dict[str, Measured]:
    """Every case once a round."""
    values: dict[str, list[float]] = {case.name: [] for case in cases}
    for number in range(rounds):
        for case in cases:
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                values[case.name].append(case.run(Path(folder)))
            print(f"benchmark: round {number + 1}: {case.name}: {values[case.name][-1]:.3g}", file=sys.stderr)
    return {case.name: Measured.of(values[case.name], case.unit) for case in cases}


def as_markdown(document: dict[str, Any]) -> str:
    lines = [
        f"{document['date']}, {document['cores']} cores ({document['processor']}), {document['count']} frames, "
        f"{document['rounds']} rounds, `{document['weights']}`: median (least to most)",
        "", "| case | measured |", "| --- | --- |",
    ]  # fmt: skip
    lines += [f"| {name} | {Measured(**one)} |" for name, one in document["measured"].items()]
    lines += ["", "| ratio of medians | |", "| --- | --- |"]
    lines += [f"| {name} | {ratio:.3f} |" for name, ratio in document["ratios"].items()]
    lines += ["", "| promised | | holds |", "| --- | --- | --- |"]
    for name, holds in document["kept"].items():
        which, limit = PROMISES[name]
        lines.append(f"| {name} | {which} {limit:g} | {'yes' if holds else 'NO'} |")
    return "\n".join(lines)


def draw(document: dict[str, Any], path: Path) -> None:
    """Milliseconds a frame over the number of frames, the side of a frame and the workers."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise UsageError("--picture: matplotlib is not installed; pip install 'aop-pose[train]'") from None
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(10, 3), layout="constrained", sharey=True)
    for axis, what in zip(axes, ("frames", "pixels", "workers"), strict=True):
        curve = {name: one for name, one in document["measured"].items() if name.startswith(f"{what}: ")}
        known = dict(sorted((int(name.split()[1]), one) for name, one in curve.items()))
        places = list(known)
        frames = [place if what == "frames" else document["curve_frames"] for place in places]
        median, least, most = (
            [1000 * one[end] / count for one, count in zip(known.values(), frames, strict=True)]
            for end in ("median", "least", "most")
        )
        axis.fill_between(places, least, most, alpha=0.2, linewidth=0)
        axis.plot(places, median, marker="o")
        # What was measured, and no half worker between.
        axis.set_xticks(places)
        axis.set_xlabel({"pixels": "side of a frame, pixels"}.get(what, what))
    # Last: limits that are set stay, whatever else is drawn on a shared axis.
    axes[0].set(ylabel="ms a frame", ylim=(0, None))
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _names(cases: Sequence[Case]) -> str:
    return "; ".join(dict.fromkeys(case.name.partition(":")[0] for case in cases))


def benchmark(given: argparse.Namespace) -> dict[str, Any]:
    sources = [entry.path for entry in discover([given.frames]).entries]
    if not sources:
        raise UsageError(f"--frames: expected frames, found none in {given.frames}")
    engines = [engine for engine in given.engines if engine == "onnx" or is_installed(engine)]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        frames = repeated(sources, given.count, scratch / "frames")
        few = repeated(sources, given.process_count, scratch / "few")
        cases = [case for engine in engines for case in of_engine(engine, given, frames)]
        cases += of_processes(given, few, engines) + of_sizes(given, sources, scratch)
        cases += of_ray(given, scratch) if given.ray else []
        wanted = [case for case in cases if case.name.startswith(tuple(given.only or [""]))]
        if not wanted:
            raise UsageError(f"--only: expected beginnings of cases, found none that fits; there are {_names(cases)}")
        found = measured(wanted, given.rounds, scratch)
    document = {
        "date": date.today().isoformat(),
        "cores": usable_cores(),
        "processor": platform.processor() or platform.machine(),
        **measuring_versions(),
        "weights": given.weights,
        "count": given.count,
        "process_count": given.process_count,
        "curve_frames": given.counts[0],
        "rounds": given.rounds,
        "measured": {name: attrs.asdict(one) for name, one in found.items()},
        "ratios": ratios(found, engines, given.memory, given.ray, given.counts[-1]),
    }
    return {**document, "kept": kept(document)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Example: python tools/benchmark.py --frames psfhs/images --json cost.json"
    )
    parser.add_argument("--frames", type=Path, required=True, metavar="DIR", help="taken over and over where too few")
    parser.add_argument("--weights", default="aop-fast", help="artefact or its name")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE.pt", help="network for `yolo predict`")
    parser.add_argument("--engines", nargs="*", choices=ENGINES[:2], default=["onnx", "openvino"])
    parser.add_argument("--count", type=int, default=500, help="frames in this process")
    parser.add_argument("--process-count", type=int, default=300, help="frames of whole processes")
    parser.add_argument("--memory", type=int, nargs="*", default=[200, 20000], metavar="N", help="memory at N frames")
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[100, 300, 1000], metavar="N", help="curve over frames"
    )
    parser.add_argument(
        "--sides", type=int, nargs="*", default=[256, 512, 1024], metavar="PX", help="curve over pixels"
    )
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4], metavar="N", help="a curve")
    parser.add_argument("--ray", type=int, nargs="*", default=[], metavar="N", help="workers of Ray (extra ray)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="cases that begin so: memory; frames pixels workers")
    parser.add_argument("--quick", action="store_true", help="some frames, one round: to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="default: standard output")
    parser.add_argument("--picture", type=Path, metavar="FILE.png")
    given = parser.parse_args()
    if given.quick:
        given.count, given.process_count, given.memory, given.rounds = 4, 2, [2, 4], 1
        given.counts, given.sides, given.workers = [2, 4], [64], [1, 2]
    try:
        document = benchmark(given)
        table = as_markdown(document)
        if given.json is not None:
            given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        if given.markdown is not None:
            given.markdown.write_text(table + "\n", encoding="utf-8")
        else:
            print(table)
        if given.picture is not None:
            draw(document, given.picture)
    except AopPoseError as error:
        print(f"benchmark: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
