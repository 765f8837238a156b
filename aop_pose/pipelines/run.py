"""The run folder: run.json, config.yaml, metrics.csv, curves.png, weights/, and the stages of a recipe in one."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import yaml

import aop_pose
from aop_pose import provenance
from aop_pose.draw.marks import GREEN, ORANGE, SKY, VERMILLION, shares
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.iugc import IUGC
from aop_pose.formats.label import Label
from aop_pose.inference.engine import usable_cores
from aop_pose.inference.predictor import Predictor
from aop_pose.io.files import replacing
from aop_pose.io.folders import LOCK
from aop_pose.pipelines.config import Config
from aop_pose.pipelines.job import Job, gpus_of, leads
from aop_pose.pseudo.ensemble import Ensemble
from aop_pose.pseudo.label import Rule
from aop_pose.pseudo.run import Cut, Unlabelled, document_of, pseudo_label

RECORD, SETTINGS, METRICS, CURVES, WEIGHTS = "run.json", "config.yaml", "metrics.csv", "curves.png", "weights"
STAGES_FOLDER = "stages"


class RunFolder:
    """The folder of a training run. ``run.json`` says ``"finished": true`` only at the end.

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
        run.check_free(path, resume)
        if resume:
            run.record = read_record(path)
            run._check_same(method, settings, facts, config.unused((facts.get("stage", "train"),)))
            run._seconds_before = float(run.record.get("wall_seconds", 0.0))
            return run
        (path / WEIGHTS).mkdir(parents=True, exist_ok=True)
        run._write_text(SETTINGS, yaml.safe_dump(settings, sort_keys=False))
        run.record = {
            "method": method, "finished": False, "config": settings, **facts, "versions": versions(),
            "git_commit": git_commit(), "machine": machine(), "command": " ".join(["aop-pose", *sys.argv[1:]]),
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }  # fmt: skip
        run.save()
        return run

    @staticmethod
    def check_free(path: Path, resume: bool) -> None:
        """UsageError where the folder holds something, or nothing that could be resumed where that was asked for."""
        if not leads():
            return
        if resume:
            if read_record(path).get("finished"):
                raise UsageError(f"--resume: the run in {path} is finished")
        elif path.exists() and any(one.name != LOCK for one in path.iterdir()):
            raise UsageError(f"--out: {path} is not empty; add --resume to go on with a run, or choose another folder")

    def _check_same(
        self, method: str, settings: Mapping[str, Any], facts: Mapping[str, Any], unused: Collection[str]
    ) -> None:
        def used(config: Mapping[str, Any]) -> dict[str, Any]:
            return {key: value for key, value in config.items() if key not in unused}

        wanted = {"method": method, "config": dict(settings), "seed": facts["seed"], "data": facts["data"]}
        for key, value in wanted.items():
            found = self.record.get(key)
            if (used(found) != used(value)) if key == "config" and isinstance(found, dict) else found != value:
                raise UsageError(f"--resume: {self.path} was started with another {key}; use the command that began it")

    @property
    def finished(self) -> bool:
        return bool(self.record.get("finished"))

    def save(self, **facts: Any) -> None:
        """Write run.json with these facts added, wall time and peak memory brought up to date."""
        seconds = self._seconds_before + time.time() - self._begin
        # Of a run that was resumed, the process that took most.
        peaks = {key: max(peak, self.record.get(key, 0)) for key, peak in peak_memory().items()}
        self.record |= {**facts, "wall_seconds": round(seconds, 1), **peaks}
        self._write_text(RECORD, json.dumps(self.record, indent=2) + "\n")

    def took(self, mb: float) -> None:
        """Take note of the memory that the GPUs of all processes took together, where they took some."""
        if mb:
            self.record[PEAK_OF_GPUS] = round(mb)

    def finish(self, **facts: Any) -> None:
        """Draw the curves and mark the run finished."""
        kept = facts.get("best", {}).get("epoch")
        draw_curves(self.path / METRICS, self.path / CURVES, kept)
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
    """Facts about labelled data for run.json.

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
    """Versions of this package, Python, and what trains and measures, as far as it is installed."""
    found = {"aop-pose": aop_pose.__version__, "python": platform.python_version()}
    installed = provenance.installed(provenance.TRAINING | provenance.MEASURING)
    return found | {package: version for package, version in installed.items() if version is not None}


def machine() -> str:
    """Cores and memory in words, without names."""
    cores = usable_cores()
    words = [f"{cores} core{'s' if cores > 1 else ''}"]
    if (memory := provenance.memory_gib()) is not None:
        words.append(f"{memory:.0f} GiB")
    return ", ".join([*words, platform.machine()])


def device_facts(device: str, gpus: int = 1) -> dict[str, str]:
    """A job's device for run.json: as it was asked for, and the names of its GPUs or its kind of processor."""
    if device == "cpu":
        return {"device": device, "device_name": platform.processor() or platform.machine()}
    import torch

    names = [torch.cuda.get_device_name(number) for number in gpus_of(device, gpus)]
    return {"device": device, "device_name": ", ".join(names)}


PEAK_OF_GPUS = "peak_gpu_memory_mb"


def peak_memory() -> dict[str, int]:
    """Largest memory of this process in MB, ``peak_memory_mb``, and of its GPUs together, ``peak_gpu_memory_mb``.

    The first is left out on Windows, which does not say it this way, the second where no GPU was used.
    """
    found = {}
    if (peak := provenance.peak_memory_mb()) is not None:
        found["peak_memory_mb"] = round(peak)
    if mb := gpu_mb():
        found[PEAK_OF_GPUS] = round(mb)
    return found


def gpu_mb() -> float:
    """Largest memory that this process took of its GPUs together, in MB; 0 where it used none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0.0
    return sum(torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count())) / 2**20


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


# Of every number that is checked: the title of its panel, and its words in the line of an epoch.
_CHECKED = {
    "mre_px": ("mean radial error, px", "MRE {:.3g} px"), "error_mm": ("mean radial error, mm", "error {:.3g} mm"),
    "aop_mae_deg": ("error of the angle, degrees", "AoP off by {:.3g}°"), "loss": ("loss", "loss there {:.3g}"),
    "missing": ("frames or volumes not found", "{:.0f} not found"), "box_iou": ("overlap of boxes (IoU)", "IoU {:.3g}"),
    "box_iou_ps": ("overlap of the symphysis' boxes (IoU)", "of PS {:.3g}"),
    "box_iou_fh": ("overlap of the head's boxes (IoU)", "of FH {:.3g}"),
    "exchanged": ("share of left and right exchanged", "left and right exchanged {:.1%}"),
    "spread": ("spread of embeddings, 1 is ideal", "spread {:.3g}"),
    "retrieval": ("share of views found again", "views found again {:.1%}"),
}  # fmt: skip


def draw_curves(table: Path, picture: Path, kept: float | None = None) -> None:
    """Losses and checked errors over epochs, from metrics.csv; losses of both kinds of frames in one panel.

    ``kept``: the epoch whose weights were kept, marked by a line. Losses that fall more than tenfold are logarithmic.
    """
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
        colours = [shares(colour) for colour in (SKY, VERMILLION, GREEN, ORANGE)]
        axis.set_prop_cycle(color=colours, linestyle=["-", "--", "-.", ":"])
        for name in names:
            what = {"train": "in training", "val": "on frames set aside"}.get(name.partition("/")[0], name)
            axis.plot(epochs, columns[name], marker="." if len(epochs) < 30 else None, label=f"{name} ({what})")
        name = title.removeprefix("val/")
        axis.set(title=_CHECKED.get(name, (name,))[0], xlabel="epoch")
        values = np.concatenate([columns[name] for name in names])
        values = values[np.isfinite(values)]
        if title == "loss" and len(values) and values.min() > 0 and values.max() > 10 * values.min():
            axis.set_yscale("log")
        else:
            axis.set_ylim(values.min(initial=0.0), axis.get_ylim()[1] * 1.05)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if len(epochs) == 1:  # the axis of one epoch has no length, and would be marked in hundredths
            axis.set_xlim(epochs[0] - 1, epochs[0] + 1)
        if title == "val/missing":  # a count, also where all of it is 0
            axis.set_ylim(0, max(values.max(initial=0.0) * 1.05, 1))
            axis.yaxis.get_major_locator().set_params(integer=True)
        if kept is not None:
            axis.axvline(kept, color="gray", linestyle=":", label=f"kept: epoch {kept:.0f}")
        if title == "loss":
            # The place with the most room is looked for at length, with a warning on a slow machine.
            axis.legend(fontsize=8, loc="upper right" if axis.get_yscale() == "log" else "lower left")
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


class Stages:
    """The stages of one run, in order: ``1-boxes``, ``2-pose``, ``3-pseudo-1.csv``, ...

    A finished stage is passed over, one that was interrupted goes on where it stopped. Where each began and the
    seconds it took stand in run.json, those of interrupted processes with them.
    """

    def __init__(self, job: Job, config: Config, run: RunFolder):
        self.job, self.config, self.run = job, config, run
        self.folder = job.out / STAGES_FOLDER
        self.folder.mkdir(exist_ok=True)
        self._number = 0

    def train(self, name: str, work: Callable[..., Any], labels: str, init: str, **options: Any) -> Path:
        """Do ``work`` (a training of a ``Job`` and the settings) into a run folder of its own, which is returned."""
        out, begun = self._next(name), False
        if out.is_dir():
            begun = (out / RECORD).is_file()
            if begun and read_record(out).get("finished"):
                self.job.say(f"stage {out.name}: finished before")
                return out
            if not begun:
                # Killed before it wrote down what it is: nothing is lost.
                shutil.rmtree(out)
        job = attrs.evolve(self.job, out=out, labels=labels, init=init, resume=begun, on_epoch=self._on_epoch)
        with self._told(out.name, init, goes_on=begun):
            work(job, self.config, **options)
        return out

    def label(
        self,
        name: str,
        teach: Callable[[], Predictor | Ensemble],
        by: Sequence[Path],
        frames: Unlabelled,
        rule: Rule,
        cut: Cut,
        facts: dict[str, Any],
    ) -> Path:
        """Pseudo-labels of ``frames`` by what ``teach`` opens, the networks of the run folders ``by``; their table.

        AopPoseError where no frame is kept, also when it is asked for again.
        """
        out = self._next(name)
        done = document_of(out)
        if done:
            self.job.say(f"stage {out.name}: finished before")
        else:
            with self._told(out.name, *map(str, by), goes_on=out.with_name(f".{out.name}.rows").exists()):
                # Not begun otherwise than now: it is this run's own. So --overwrite only means what a kill left.
                pseudo_label(
                    teach(), frames, out, rule=rule, cut=cut, overwrite=True, facts=facts,
                    on_row=lambda row, count: self.job.on_frames(count, len(frames.entries)),
                )  # fmt: skip
            done = document_of(out)
        if not done["kept"]:
            raise AopPoseError(f"no frame of {done['rows']} was kept; {out} says why for each; take another network")
        self.job.say(f"{out.name}: {done['kept']} of {done['rows']} frames kept")
        return out

    def _on_epoch(self, row: dict[str, float]) -> None:
        # So that the wall time of a process that is killed is not lost.
        self.run.save()
        self.job.on_epoch(row)

    def _next(self, name: str) -> Path:
        self._number += 1
        return self.folder / f"{self._number}-{name}"

    @contextmanager
    def _told(self, name: str, *starts: str, goes_on: bool) -> Iterator[None]:
        self.job.say(f"stage {name}{': goes on' if goes_on else ''}")
        told = self.run.record.setdefault("stages", {}).setdefault(name, {"seconds": 0.0})
        told["from"] = ", ".join(Path(start).name if Path(start).parent == self.folder else start for start in starts)
        # A stage may finish and the process be killed before the next line is written: the page needs its entry.
        self.run.save()
        before, begin = told["seconds"], time.time()
        try:
            yield
        finally:
            told["seconds"] = round(before + time.time() - begin, 1)
            self.run.save()


ERROR = "val/mre_px"
KEPT_FILES = (METRICS, f"{WEIGHTS}/best.pt", f"{WEIGHTS}/last.pt")


@attrs.frozen
class Choice:
    """The run of several that is kept."""

    round: int
    """0 is pose training without pseudo-labels."""
    run: Path
    why: str
    candidates: list[dict[str, Any]]
    """Round, stage, kept epoch and checked errors of each."""


def choose(runs: Mapping[int, Path]) -> Choice:
    """The run with the least mean radial error on its checking frames; of equals, or unchecked ones, the last."""
    best = {number: read_record(run)["best"] for number, run in runs.items()}
    candidates = [{"round": number, "stage": run.name, **best[number]} for number, run in runs.items()]
    chosen = min(runs, key=lambda number: (_checked(best[number][ERROR]), -number))
    why = "no frame was set aside to compare the stages: the last one"
    if best[chosen][ERROR] is not None:
        why = f"least mean radial error on the checking frames, {best[chosen][ERROR]:.2f} px"
    return Choice(chosen, runs[chosen], why, candidates)


def _checked(error: float | None) -> float:
    return math.inf if error is None else float(error)


def keep(run: RunFolder, choice: Choice) -> dict[str, Any]:
    """Copy what a run folder holds from the chosen stage; returns what run.json says of it."""
    for name in KEPT_FILES:
        with replacing(run.path / name) as part:
            shutil.copyfile(choice.run / name, part)
    chosen = read_record(choice.run)
    same = ("best", "start", "precision", "device", "device_name", "tensors_transferred", "torch_threads")
    return {
        "chosen": {"round": choice.round, "stage": choice.run.name, "why": choice.why},
        "candidates": choice.candidates,
        **{key: chosen[key] for key in same if key in chosen},
    }


def split_files(
    folder: Path, labels: str, val: str | None, training: Sequence[Label], checking: Sequence[Label]
) -> tuple[str, str | None]:
    """``--labels`` and ``--val`` of every stage: as given, or the two parts of the labels on disk."""
    if val is not None or not checking:
        return labels, val
    files = folder / "labels.csv", folder / "checks.csv"
    for file, frames in zip(files, (training, checking), strict=True):
        IUGC.write_table(frames, file)
    return str(files[0]), str(files[1])


def outside(unlabelled: Unlabelled, out: Path) -> Unlabelled:
    """Without what this run itself wrote, where its folder lies among the data."""
    left = [entry for entry in unlabelled.entries if not entry.path.resolve().is_relative_to(out.resolve())]
    if not left:
        raise UsageError(f"expected frames without labels, found none outside {out}")
    return attrs.evolve(unlabelled, entries=left)


_NOTHING = 179.999
"""Mean error of the angle, in degrees, where no frame shows anything: each counts as the largest there can be."""


def in_words(checked: Mapping[str, float]) -> list[str]:
    """The checked numbers of an epoch with their units; that nothing is found, instead of errors of nothing."""
    if checked.get("val/aop_mae_deg", 0.0) > _NOTHING:
        return ["finds nothing yet"]
    named = {name.removeprefix("val/"): value for name, value in checked.items()}
    return [_CHECKED.get(name, ("", f"{name} {{:.3g}}"))[1].format(value) for name, value in named.items()]
