"""What measuring costs: run time, memory and CPU use over time, as Table 3 and Figure 2 of Tang et al. (IUGC 2025).

Runs `aop-pose predict --no-overlay` on copies of COUNT frames as a process of its own and samples it and its children
about twenty times a second. RAM is their resident memory, CPU their time as a share of all cores this process may use,
GPU memory what the device holds beyond what it held before (nvidia-smi; only with --device cuda). The area is the
integral over the run. Needs psutil and matplotlib, both come with the train extra. The run includes start and loading.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference.engine import usable_cores
from aop_pose.inference.predictor import load
from aop_pose.io.discover import discover

INTERVAL = 0.05
"""Seconds between two samples."""
MB = 2**20


@attrs.frozen(eq=False)
class Cost:
    """One run: samples over time, each of shape (samples,)."""

    seconds: np.ndarray
    """Since the start; the last sample is the end of the process."""
    ram_mb: np.ndarray
    cpu_percent: np.ndarray
    gpu_mb: np.ndarray
    """NaN where no GPU was asked for or none answers."""


def measured(command: Sequence[str], gpu: bool = False) -> Cost:
    """Run a command to its end and sample it; AopPoseError where it fails."""
    import psutil

    before = _gpu_mb() if gpu else np.nan
    samples: list[tuple[float, float, float, float]] = []
    with tempfile.TemporaryFile() as said:
        begin = time.perf_counter()
        process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            # A short run is sampled all the same: the first sample is taken at once.
            ram, cpu = _of_tree(psutil, process)
            samples.append((time.perf_counter() - begin, ram, cpu, _gpu_mb() - before if gpu else np.nan))
            time.sleep(INTERVAL)
        end = time.perf_counter() - begin
        if process.returncode not in (0, 3):
            said.seek(0)
            message = said.read().decode(errors="replace").strip()[-300:]
            raise AopPoseError(f"{' '.join(command)} ended with {process.returncode}: {message}")
    times, ram, cpu, memory = np.array(samples).T
    # Time of the CPU since the last sample over the time that has passed, on all cores.
    busy = np.diff(cpu, prepend=0.0) / np.maximum(np.diff(times, prepend=0.0), 1e-9) / usable_cores() * 100
    # At its end the process holds and does nothing; a GPU that never answered stays NaN.
    curves = (np.append(values, 0.0 * values[-1]) for values in (ram, np.clip(busy, 0, 100), memory))
    return Cost(np.append(times, end), *curves)


def _of_tree(psutil, process) -> tuple[float, float]:
    """Resident MB and CPU seconds of a process and its children; zeros where it has just ended."""
    ram = cpu = 0.0
    try:
        for one in (process, *process.children(recursive=True)):
            times = one.cpu_times()
            ram, cpu = ram + one.memory_info().rss / MB, cpu + times.user + times.system
    except psutil.NoSuchProcess:
        return ram, cpu
    return ram, cpu


def _gpu_mb() -> float:
    """Memory in use on the first GPU in MB, NaN where there is none."""
    if shutil.which("nvidia-smi") is None:
        return np.nan
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return float(answer.stdout.split()[0]) if answer.returncode == 0 and answer.stdout.split() else np.nan


def area(cost: Cost, values: np.ndarray) -> float:
    """Integral over the run, in the unit of the values times seconds (trapezoid)."""
    return float(((values[1:] + values[:-1]) / 2 * np.diff(cost.seconds)).sum())


def cost_of(artefact: Path, folder: Path, count: int, device: str = "cpu") -> Cost:
    """Cost of measuring copies of the first ``count`` frames of a folder; UsageError where there are fewer."""
    entries = discover([folder]).entries[:count]
    if len(entries) < count:
        raise UsageError(f"expected {count} frames in {folder}, found {len(entries)}; ask for fewer with --count")
    load(artefact)
    with tempfile.TemporaryDirectory() as scratch:
        frames = Path(scratch) / "frames"
        frames.mkdir()
        for number, entry in enumerate(entries):
            shutil.copy(entry.path, frames / f"{number:05}{entry.path.suffix}")
        command = [sys.executable, "-m", "aop_pose", "predict", str(frames), "--no-overlay"]
        command += ["--weights", str(artefact.resolve()), "--device", device, "--out", str(Path(scratch) / "out")]
        return measured(command, gpu=device == "cuda")


def table(costs: Mapping[str, Cost], count: int) -> str:
    """Markdown, a column for each artefact; rows as in Table 3 of the seed, and frames per second."""
    rows = {
        "Runtime (s)": lambda cost: f"{cost.seconds[-1]:.2f}",
        "Frames per second": lambda cost: f"{count / cost.seconds[-1]:.3g}",
        "Maximum GPU memory (MB)": lambda cost: _shown(cost.gpu_mb.max()),
        "GPU memory-time area (MB s)": lambda cost: _shown(area(cost, cost.gpu_mb)),
        "Maximum CPU utilisation (%)": lambda cost: f"{cost.cpu_percent.max():.1f}",
        "CPU utilisation-time area (% s)": lambda cost: f"{area(cost, cost.cpu_percent):.1f}",
        "Maximum RAM (MB)": lambda cost: f"{cost.ram_mb.max():.0f}",
        "RAM-time area (MB s)": lambda cost: f"{area(cost, cost.ram_mb):.0f}",
    }
    head = [f"| {count} frames | {' | '.join(costs)} |", f"| --- |{' --- |' * len(costs)}"]
    return "\n".join([*head, *(f"| {name} | {' | '.join(map(of, costs.values()))} |" for name, of in rows.items())])


def _shown(value: float) -> str:
    return f"{value:.0f}" if np.isfinite(value) else "no GPU"


def draw(costs: Mapping[str, Cost], count: int, out: Path) -> None:
    """The curves, one row a resource; the suffix of ``out`` says which kind of picture. AopPoseError where it fails."""
    from matplotlib.figure import Figure

    rows = [("RAM, MB", "ram_mb"), ("CPU, % of all cores", "cpu_percent"), ("GPU memory, MB", "gpu_mb")]
    shown = [row for row in rows if any(np.isfinite(getattr(cost, row[1])).any() for cost in costs.values())]
    figure = Figure(figsize=(7, 2.2 * len(shown)), layout="constrained")
    for axis, (label, name) in zip(np.atleast_1d(figure.subplots(len(shown), 1, sharex=True)), shown, strict=True):
        for artefact, cost in costs.items():
            axis.plot(cost.seconds, getattr(cost, name), label=artefact, linewidth=1.2)
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    figure.axes[0].set_title(f"aop-pose predict, {count} frames, cores: {usable_cores()}", fontsize=10)
    figure.axes[-1].set_xlabel("seconds")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=130)
    except (OSError, ValueError) as error:
        raise AopPoseError(f"--curves {out}: {error}") from None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/cost_table.py --frames psfhs/images --artefact weights/aop-fast.onnx "
        "--curves cost.svg",
    )
    parser.add_argument("--frames", type=Path, required=True, help="folder with at least COUNT frames")
    parser.add_argument("--artefact", type=Path, action="append", required=True, help="to measure; again for more")
    parser.add_argument("--count", type=int, default=501, help="frames, 501 as in the paper")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--curves", type=Path, help="PNG or SVG with the curves over time")
    arguments = parser.parse_args()
    try:
        costs = {
            artefact.stem: cost_of(artefact, arguments.frames, arguments.count, arguments.device)
            for artefact in arguments.artefact
        }
        print(table(costs, arguments.count))
        if arguments.curves is not None:
            draw(costs, arguments.count, arguments.curves)
    except AopPoseError as error:
        print(f"cost_table: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
