"""The run folder: run.json, config.yaml, metrics.csv, curves.png, weights/."""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import aop_pose
from aop_pose.errors import UsageError
from aop_pose.inference.predictor import usable_cores
from aop_pose.io.files import replacing
from aop_pose.pipelines.config import Config
from aop_pose.pipelines.job import Job, leads

RECORD, SETTINGS, METRICS, CURVES, WEIGHTS = "run.json", "config.yaml", "metrics.csv", "curves.png", "weights"
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "ultralytics-opencv-headless",
    "ultralytics",
    "numpy",
    "opencv-python-headless",
)


class RunFolder:
    """Where a training run writes. ``run.json`` says ``"finished": true`` only at the end.

    Of several processes of one training, only the one that leads opens, writes and finishes it.
    """

    def __init__(self, path: Path):
        self.path = path
        self.record: dict[str, Any] = {}
        self._begin = time.time()
        self._seconds_before = 0.0

    @classmethod
    def open(cls, path: Path, method: str, config: Config, facts: Mapping[str, Any], resume: bool) -> RunFolder:
        """Begin a run, or take up one that was interrupted.

        Raises:
            UsageError: the folder holds a run and ``resume`` was not asked for; or it was, and there is no run, or
                one with other settings.
        """
        run = cls(path)
        if not leads():
            return run
        settings = config.model_dump(mode="json")
        if resume:
            run.record = read_record(path)
            run._check_same(method, settings, facts)
            run._seconds_before = float(run.record.get("wall_seconds", 0.0))
            return run
        if path.exists() and any(path.iterdir()):
            raise UsageError(f"--out: {path} is not empty; add --resume to go on with a run, or choose another folder")
        (path / WEIGHTS).mkdir(parents=True, exist_ok=True)
        run._write_text(SETTINGS, yaml.safe_dump(settings, sort_keys=False))
        run.record = {
            "method": method, "finished": False, "config": settings, **facts, "versions": versions(),
            "git_commit": git_commit(), "machine": machine(), "command": " ".join(["aop-pose", *sys.argv[1:]]),
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }  # fmt: skip
        run.save()
        return run

    def _check_same(self, method: str, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        if self.record.get("finished"):
            raise UsageError(f"--resume: the run in {self.path} is finished")
        wanted = {"method": method, "config": dict(settings), "seed": facts["seed"], "data": facts["data"]}
        for key, value in wanted.items():
            if self.record.get(key) != value:
                raise UsageError(f"--resume: {self.path} was started with another {key}; use the command that began it")

    @property
    def finished(self) -> bool:
        return bool(self.record.get("finished"))

    def save(self, **facts: Any) -> None:
        """Write run.json with these facts added, wall time and peak memory brought up to date."""
        seconds = self._seconds_before + time.time() - self._begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.record |= {**facts, "wall_seconds": round(seconds, 1), "peak_memory_mb": round(peak)}
        self._write_text(RECORD, json.dumps(self.record, indent=2) + "\n")

    def finish(self, **facts: Any) -> None:
        """Draw the curves and mark the run finished."""
        draw_curves(self.path / METRICS, self.path / CURVES)
        self.save(finished=True, **facts)

    def _write_text(self, name: str, text: str) -> None:
        if not leads():
            return
        part = self.path / f"{name}.part"
        part.write_text(text, encoding="utf-8")
        os.replace(part, self.path / name)


def read_record(path: Path) -> dict[str, Any]:
    """``run.json`` of a run folder; UsageError where there is none."""
    file = path / RECORD
    if not file.is_file():
        raise UsageError(f"expected a run folder with {RECORD}, found none at {path}")
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not JSON ({error}); the run is damaged") from None
    if not isinstance(record, dict) or not {"method", "config"} <= record.keys():
        raise UsageError(f"{file}: expected what a training run writes (method, config, ...); the run is damaged")
    return record


def fingerprint(parts: Iterable[bytes]) -> str:
    """SHA-256 over pieces of data, each preceded by its length."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def labelled_facts(
    job: Job, val: str | None, learned: int, checked: int, parts: Iterable[bytes], what: str = "frames", **further: Any
) -> dict[str, Any]:
    """What run.json says of labelled data.

    Args:
        job: names the label file.
        val: the label file that chooses the epoch; None = a share of the first one's.
        learned: how many frames or volumes train.
        checked: how many choose the epoch.
        parts: what the fingerprint is made of.
        what: ``frames`` or ``volumes``.
        further: what else trains.
    """
    return {
        "labels": job.labels, "val": val, what: learned, **further, f"checked_{what}": checked,
        "chosen_by": "the last epoch" if not checked else "--val" if val else "held-out groups of the labels",
        "fingerprint": fingerprint(parts),
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of this package, Python and what trained."""
    found = {"aop-pose": aop_pose.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """Cores, memory and accelerator in words, without names."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    cores = usable_cores()
    return f"{cores} core{'s' if cores > 1 else ''}, {pages:.0f} GiB, {platform.machine()}"


def git_commit() -> str | None:
    """Commit of the checkout this package runs from, with ``+`` when files differ; None when installed."""
    here = Path(aop_pose.__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def draw_curves(table: Path, picture: Path) -> None:
    """Losses and checked errors over epochs, from metrics.csv; losses of both kinds of frames in one panel."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    epochs = [float(row["epoch"]) for row in rows]
    columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    checked = [name for name in columns if name.startswith("val/") and np.isfinite(columns[name]).any()]
    panels = {"loss": [name for name in columns if name.startswith("train/") or name in {*checked} & {"val/loss"}]}
    # Each other checked number has its own unit, so its own panel; one that was never checked has none.
    panels |= {name: [name] for name in checked if name not in panels["loss"]}
    figure, axes = plt.subplots(1, len(panels), figsize=(4.5 * len(panels), 4), layout="constrained", squeeze=False)
    for axis, (title, names) in zip(axes[0], panels.items(), strict=True):
        for name in names:
            axis.plot(epochs, columns[name], marker="." if len(epochs) < 30 else None, label=name)
        axis.set(title=title.removeprefix("val/"), xlabel="epoch")
        axis.set_ylim(0, axis.get_ylim()[1] * 1.05)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if title == "loss":
            axis.legend(fontsize=8)
    part = picture.with_suffix(".part.png")
    figure.savefig(part, dpi=110)
    plt.close(figure)
    os.replace(part, picture)


def append_row(table: Path, row: Mapping[str, float]) -> None:
    """Add a row of numbers, below a header of their names where the table is new."""
    fresh = not table.exists()
    with table.open("a", encoding="utf-8") as file:
        if fresh:
            file.write(",".join(row) + "\n")
        file.write(",".join(f"{value:.6g}" for value in row.values()) + "\n")


def best_row(table: Path, columns: Sequence[str]) -> dict[str, float | None]:
    """The row of metrics.csv whose weights were kept; what was not checked is None.

    The first of ``columns`` decides: the least, except that a name that ends in ``iou`` is best when greatest. Of equal
    epochs the last is kept; where nothing was checked (NaN), the last of all.
    """
    with table.open(encoding="utf-8") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    sign = -1 if columns[0].endswith("iou") else 1
    checked = [row for row in rows if np.isfinite(row[columns[0]])]
    kept = min(reversed(checked), key=lambda row: sign * row[columns[0]]) if checked else rows[-1]
    return {key: kept[key] if np.isfinite(kept[key]) else None for key in ("epoch", *columns)}


def keep_rows(table: Path, rows: int) -> None:
    """Cut a table back to its header and the first ``rows`` rows."""
    if table.is_file():
        lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
        with replacing(table) as part:
            part.write_text("".join(lines[: rows + 1]), encoding="utf-8")
