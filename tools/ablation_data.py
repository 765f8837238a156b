"""What the arms of the ablation of pseudo-labels take in: their budget, their tables, and phantoms to rehearse on."""

from __future__ import annotations

import csv
import math
import shutil
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.evaluation.figures import metrics
from aop_pose.formats.iugc import ANGLE, COLUMNS, IUGC, KEEP
from aop_pose.formats.label import Label
from aop_pose.formats.registry import read_labels
from aop_pose.phantom.write import write_phantoms
from aop_pose.pseudo.label import COLUMNS_OF_TABLE
from aop_pose.pseudo.run import read_pseudo

LABELLED, UNLABELLED, ANSWERS, VAL = "labelled.csv", "unlabelled.txt", "unlabelled_answers.csv", "val.csv"


@attrs.frozen
class Budget:
    """Frames, batches and steps of the arms."""

    labelled: int
    answers: int
    batch: int
    pose_epochs: int
    """Of B's pose training."""
    epochs: int
    """Of C: passes over the labelled frames, which are half of each batch."""

    @property
    def further(self) -> int:
        """Steps of every arm that goes on from B."""
        return self.epochs * math.ceil(self.labelled / (self.batch // 2))

    @property
    def all_steps(self) -> int:
        """Of B's pose training and C together."""
        return self.pose_epochs * math.ceil(self.labelled / self.batch) + self.further

    def epochs_of(self, arm: str) -> int:
        """Whole epochs that come nearest to the arm's steps."""
        if arm == "K":
            return max(1, round(self.further / math.ceil(self.labelled / self.batch)))
        if arm == "F":
            return max(1, round(self.all_steps / math.ceil((self.labelled + self.answers) / self.batch)))
        return self.epochs

    def warmup(self, arm: str, epochs: float) -> float:
        """Warm-up of K that has as many steps as ``epochs`` epochs of C."""
        return epochs * self.epochs_of(arm) / self.epochs if arm == "K" else epochs


def write_answers(frames: Sequence[Label], file: Path) -> None:
    """Labelled frames as a ``pseudo.csv`` whose rows are all kept with weight 1."""
    IUGC.write_table(frames, file)
    with file.open(encoding="utf-8", newline="") as stream:
        rows = [{column: row[column] for column in (*COLUMNS, ANGLE)} for row in csv.DictReader(stream)]
    _write(file, [{**row, KEEP: "1", "weight": "1"} for row in rows])


def _write(file: Path, rows: Sequence[dict[str, str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS_OF_TABLE, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def quality(pseudo: Path, data: Path) -> dict[str, Any]:
    """How good pseudo-labels are, for the record alone: kept frames, their mean weight, MRE (512 scale), AoP error."""
    answers = {frame.name: frame for frame in read_labels(data / ANSWERS, data)}
    kept = [one for one in read_pseudo(pseudo, data) if one.frame.name in answers]
    found = np.stack([one.frame.keypoints.coords for one in kept])
    truth = np.stack([answers[one.frame.name].keypoints.coords for one in kept])
    figures = metrics(found, truth, np.array([(one.frame.width, one.frame.height) for one in kept]), scale=512)
    weight = round(float(np.mean([one.weight for one in kept])), 4)
    errors = {key: figures[key] for key in ("mre_px", "aop_mae_deg")}
    return {"frames": len(answers), "kept": len(kept), "mean_weight": weight, **errors}


def rehearsal_of(options: Namespace) -> None:
    """Turn the options to a few phantoms, and to places where nothing is committed."""
    place = options.runs / "dry"
    options.data = place / "data"
    if not options.data.is_dir():
        write_rehearsal(options.data, labelled=8, unlabelled=8, val=4)
    options.runs, options.results, options.coco = place / "runs", place / "results", None


def write_rehearsal(data: Path, labelled: int = 16, unlabelled: int = 16, val: int = 8) -> None:
    """Phantoms laid out as psfhs is: labelled frames, unlabelled ones with answers, and frames to measure on."""
    part = data.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    write_phantoms(part, count=labelled + unlabelled + val, seed=0, size=96)
    frames = read_labels(part / "labels.csv", part)
    hidden = frames[labelled : labelled + unlabelled]
    IUGC.write_table(frames[:labelled], part / LABELLED)
    IUGC.write_table(hidden, part / ANSWERS)
    IUGC.write_table(frames[labelled + unlabelled :], part / VAL)
    (part / UNLABELLED).write_text("".join(f"{frame.name}\n" for frame in hidden), encoding="utf-8")
    part.rename(data)
