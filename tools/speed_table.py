"""Whole-process speed of `aop-pose predict` beside Ultralytics' own `yolo predict`, same network and image size."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference.predictor import load
from aop_pose.io.discover import discover

BIN = Path(sys.executable).parent


def timed(command: Sequence[str], cwd: Path, table: Path | None = None) -> tuple[float, float]:
    """Seconds until the process ends, and until the first row stands in ``table`` (NaN without one)."""
    begin = time.perf_counter()
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(cwd), "YOLO_OFFLINE": "true"}
    process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    first = math.nan
    while process.poll() is None:
        if table is not None and math.isnan(first) and table.exists() and table.read_bytes().count(b"\n") >= 2:
            first = time.perf_counter() - begin
        time.sleep(0.005)
    seconds = time.perf_counter() - begin
    if process.returncode:
        message = process.stderr.read().decode(errors="replace") if process.stderr else ""
        raise AopPoseError(f"{' '.join(command)} ended with {process.returncode}: {message[-300:]}")
    return seconds, first


def speed_table(frames: Path, artefact: Path, checkpoint: Path | None, count: int, runs: int) -> str:
    """Markdown table: median seconds and frames per second over ``runs`` whole processes on ``count`` frames."""
    entries = discover([frames]).entries[:count]
    if len(entries) < count:
        raise UsageError(f"expected {count} frames in {frames}, found {len(entries)}")
    size = load(artefact).contract.image_size
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "frames"
        folder.mkdir()
        for entry in entries:
            shutil.copy(entry.path, folder / entry.path.name)
        ours = [str(BIN / "aop-pose"), "predict", str(folder), "--weights", str(artefact.resolve())]
        commands = {
            "aop-pose predict": [*ours, "--out", "{out}"],
            "aop-pose predict --no-overlay": [*ours, "--no-overlay", "--out", "{out}"],
        }
        if checkpoint is not None:
            stock = [str(BIN / "yolo"), "pose", "predict", f"model={checkpoint.resolve()}", f"source={folder}"]
            stock += [f"imgsz={size}", "device=cpu", "verbose=False", "project={out}"]
            commands["yolo predict (saves pictures)"] = [*stock, "save=True"]
            commands["yolo predict save=False"] = [*stock, "save=False"]
        for name, command in commands.items():
            measured = []
            for run in range(runs):
                out = Path(scratch) / f"{len(rows)}-{run}"
                filled = [part.format(out=out) for part in command]
                measured.append(timed(filled, Path(scratch), out / "results.csv" if "aop-pose" in name else None))
            seconds, first = (statistics.median(values) for values in zip(*measured, strict=True))
            shown = "-" if math.isnan(first) else f"{first:.2f}"
            rows.append(f"| `{name}` | {seconds:.2f} | {count / seconds:.1f} | {shown} |")
    head = ["| command | seconds | frames/s | first row after, s |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *rows])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python tools/speed_table.py --frames psfhs/images --artefact fast.onnx --checkpoint best.pt",
    )
    parser.add_argument("--frames", type=Path, required=True, help="folder with at least COUNT frames")
    parser.add_argument("--artefact", type=Path, required=True, help="artefact to time")
    parser.add_argument("--checkpoint", type=Path, help="the same network as an Ultralytics checkpoint")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    try:
        print(speed_table(arguments.frames, arguments.artefact, arguments.checkpoint, arguments.count, arguments.runs))
    except AopPoseError as error:
        print(f"speed_table: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
