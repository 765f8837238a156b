"""Stages of a run that is made of several: each has a place of its own below ``stages/``, and none is done twice."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from aop_pose.errors import AopPoseError
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.run import RECORD, RunFolder, read_record
from aop_pose.pipelines.yolo.artefact import predictor
from aop_pose.pseudo.frames import Unlabelled
from aop_pose.pseudo.label import Rule
from aop_pose.pseudo.run import Cut, pseudo_label

FOLDER = "stages"


class Stages:
    """The stages of one run, in order: ``1-boxes``, ``2-pose``, ``3-pseudo-1.csv``, ...

    A finished stage is passed over, one that was interrupted goes on where it stopped. Where each began and the
    seconds it took stand in run.json, those of interrupted processes with them.
    """

    def __init__(self, job: Job, run: RunFolder):
        self.job, self.run = job, run
        self.folder = job.out / FOLDER
        self.folder.mkdir(exist_ok=True)
        self._number = 0

    def train(self, name: str, verb: Callable[..., Any], labels: str, init: str, **options: Any) -> Path:
        """Run ``verb`` (``train`` or ``pretrain``) into a run folder of its own, which is returned."""
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
            verb(job, **options)
        return out

    def label(self, name: str, teacher: Path, frames: Unlabelled, rule: Rule, cut: Cut, facts: dict[str, Any]) -> Path:
        """Pseudo-labels of ``frames`` by the network of a run folder; returns their table.

        AopPoseError where no frame is kept, also when it is asked for again.
        """
        out = self._next(name)
        done = document_of(out)
        if done:
            self.job.say(f"stage {out.name}: finished before")
        else:
            device = self.job.device if self.job.device == "cpu" else f"cuda:{self.job.device}"
            with self._told(out.name, str(teacher), goes_on=out.with_name(f".{out.name}.rows").exists()):
                # Not begun otherwise than now: it is this run's own. So --overwrite only means what a kill left.
                pseudo_label(
                    predictor(teacher, device), frames, out, rule=rule, cut=cut, overwrite=True, facts=facts,
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
    def _told(self, name: str, start: str, goes_on: bool) -> Iterator[None]:
        self.job.say(f"stage {name}{': goes on' if goes_on else ''}")
        within = Path(start).parent == self.folder
        told = self.run.record.setdefault("stages", {}).setdefault(name, {"seconds": 0.0})
        told["from"] = Path(start).name if within else start
        # A stage may finish and the process be killed before the next line is written: the page needs its entry.
        self.run.save()
        before, begin = told["seconds"], time.time()
        try:
            yield
        finally:
            told["seconds"] = round(before + time.time() - begin, 1)
            self.run.save()


def document_of(table: Path) -> Mapping[str, Any]:
    """What ``pseudo_label`` wrote beside a finished table; empty where it is not finished."""
    file = table.with_suffix(".run.json")
    if not (table.is_file() and file.is_file()):
        return {}
    found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
