"""The plan of a benchmark: what it compares, and the splits that every run of it shares."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from aop_pose.core.schemas import AOP
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.label import Label, resolve
from aop_pose.formats.registry import read_labels
from aop_pose.formats.split import near_duplicate_groups, split_table
from aop_pose.io.files import replacing
from aop_pose.pipelines import PIPELINES

SCHEMA = AOP
"""The schema that is measured: the labels are iugc files."""
SCALE = 512.0
"""Pixel errors are given as if the longer side of each picture had this many pixels."""
PACE_EPOCHS = 2
"""Of the short training that finds a method's pace: the first warms up, the last is timed."""

_SECONDS = {"s": 1, "m": 60, "h": 3600}


@attrs.frozen
class Budget:
    """The budget of each run."""

    amount: int
    unit: Literal["e", "s", "m", "h"]

    @classmethod
    def parse(cls, text: str) -> Budget:
        """``20m``, ``90s``, ``2h`` or ``30e``; UsageError for anything else."""
        found = re.fullmatch(r"([1-9][0-9]*)([esmh])", text)
        if found is None:
            raise UsageError(f"--budget: expected wall time (90s, 20m, 2h) or epochs (30e) of a run, found {text!r}")
        return cls(int(found[1]), found[2])  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.amount}{self.unit}"

    @property
    def words(self) -> str:
        unit = {"e": "epoch", "s": "second", "m": "minute", "h": "hour"}[self.unit]
        return f"{self.amount} {unit}{'s' if self.amount > 1 else ''}"

    @property
    def seconds(self) -> int | None:
        """Wall time of a run; None for a budget in epochs."""
        return self.amount * _SECONDS[self.unit] if self.unit in _SECONDS else None


@attrs.frozen
class Pace:
    """Time that a method takes on a machine, in seconds."""

    fixed: float
    """Before the first epoch and after the last, and what the first takes longer than others."""
    epoch: float

    def epochs_within(self, seconds: float) -> int:
        """Most epochs that fit; UsageError where not one does."""
        epochs = int((seconds - self.fixed) / self.epoch)
        if epochs < 1:
            raise UsageError(
                f"--budget: expected time for an epoch ({self.fixed + self.epoch:.0f} s with its start-up), "
                f"found {seconds:.0f} s"
            )
        return epochs


def pace_of(train: Callable[[Callable[[], None]], None], clock: Callable[[], float] = time.monotonic) -> Pace:
    """Time a training of ``PACE_EPOCHS`` epochs; ``train`` takes what it has to call after each of them."""
    ends: list[float] = []
    begin = clock()
    train(lambda: ends.append(clock()))
    whole = clock() - begin
    if len(ends) != PACE_EPOCHS:
        raise AopPoseError(f"expected the end of {PACE_EPOCHS} epochs to be told, found {len(ends)}")
    epoch = ends[-1] - ends[-2]
    return Pace(fixed=max(whole - PACE_EPOCHS * epoch, 0.0), epoch=max(epoch, 1e-3))


PLAN_FILE = "plan.json"
SPLITS = "splits"
TEST_SHARE = 0.2
"""Share of the labelled frames that is measured where no other file is named."""
CHECK_SHARE = 0.1
"""Share of the remaining frames that chooses the epoch."""


def _methods(given: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(given))


@attrs.frozen
class Plan:
    """The methods, what they learn from, how often and for how long."""

    data: Path
    methods: tuple[str, ...] = attrs.field(converter=_methods)
    """Names of ``pipelines.PIPELINES``; UsageError for others."""
    budget: Budget
    seeds: int = 3
    """Runs of each method, with seeds 0, 1, ..."""
    labels: str = "labels.csv"
    val: str | None = None
    """Label file of the frames that are measured; None = a fifth of ``labels``, in whole groups."""
    preset: str | None = None
    changes: tuple[str, ...] = attrs.field(default=())
    """``key=value`` for every method, ``METHOD.key=value`` for one."""
    init: str = "auto"
    device: str = "cpu"

    @methods.validator
    def _check_methods(self, attribute: attrs.Attribute, value: tuple[str, ...]) -> None:
        unknown = [method for method in value if method not in PIPELINES]
        if unknown or not value:
            raise UsageError(
                f"--methods: expected some of {', '.join(PIPELINES)}, found {', '.join(unknown) or 'nothing'}"
            )

    @changes.validator
    def _check_changes(self, attribute: attrs.Attribute, value: tuple[str, ...]) -> None:
        for change in value:
            name, dot, _ = change.partition(".")
            if dot and name in PIPELINES and name not in self.methods:
                raise UsageError(f"--set: {change} is for a method that --methods does not name; leave it out")

    def changes_of(self, method: str) -> list[str]:
        """The settings that a method is given beside its preset."""
        taken = []
        for change in self.changes:
            name, dot, setting = change.partition(".")
            addressed = bool(dot) and name in PIPELINES
            if not addressed or name == method:
                taken.append(setting if addressed else change)
        return taken

    def command(self) -> str:
        """The command line that makes this benchmark, without its folder."""
        words = ["aop-pose", "benchmark", "--data", str(self.data), "--labels", self.labels]
        words += ["--val", self.val] if self.val else []
        words += ["--methods", ",".join(self.methods), "--seeds", str(self.seeds), "--budget", str(self.budget)]
        words += ["--preset", self.preset] if self.preset else []
        words += [word for change in self.changes for word in ("--set", change)]
        words += ["--init", self.init] if self.init != "auto" else []
        words += ["--device", self.device] if self.device != "cpu" else []
        return shlex.join(words)


@attrs.frozen
class Splits:
    """Label files that every method gets alike."""

    test: Path
    folder: Path

    def train(self, seed: int) -> Path:
        return self.folder / f"seed-{seed}" / "train.csv"

    def check(self, seed: int) -> Path:
        """Frames that choose the epoch."""
        return self.folder / f"seed-{seed}" / "val.csv"


def open_folder(plan: Plan, out: Path, resume: bool) -> None:
    """Make ``out`` ready for a plan, or for more runs of one that it holds.

    Methods and seeds may be added to what stands there; everything else must be the same.

    Raises:
        UsageError: ``out`` is not empty and ``resume`` was not asked for; or it was, and there is no benchmark in it,
            or one of other data, budget or settings.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out: expected a folder, found the file {out}")
    file, identity = out / PLAN_FILE, _identity(plan)
    if not resume:
        if out.exists() and any(out.iterdir()):
            raise UsageError(
                f"--out: {out} is not empty; add --resume to go on with a benchmark, or choose another folder"
            )
        with replacing(file) as part:
            part.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UsageError(f"--resume: expected a benchmark with {PLAN_FILE}, found none at {out}") from None
    differing = [key for key, value in identity.items() if before.get(key) != value]
    if differing:
        was = ", ".join(f"{key} was {before.get(key)}" for key in differing)
        raise UsageError(f"--resume: {out} holds another benchmark ({was}); use the command that began it")


def _identity(plan: Plan) -> dict[str, Any]:
    """The facts that must stay the same for runs to be comparable."""
    files = {"labels": plan.labels, **({"val": plan.val} if plan.val else {})}
    hashes = {
        name: hashlib.sha256(resolve(file, plan.data, own=True).read_bytes()).hexdigest()
        for name, file in files.items()
    }
    return {
        "labels_sha256": hashes["labels"],
        "val_sha256": hashes.get("val"),
        "budget": str(plan.budget),
        "preset": plan.preset,
        "set": list(plan.changes),
        "init": plan.init,
        "device": plan.device,
    }


def make_splits(plan: Plan, out: Path) -> Splits:
    """Write the label files of each seed; groups of near-duplicates are never cut."""
    folder = out / SPLITS
    labels = resolve(plan.labels, plan.data, own=True)
    test = resolve(plan.val, plan.data) if plan.val else folder / "val.csv"
    if plan.val is None:
        if not test.exists():
            split_table(labels, folder, TEST_SHARE, seed=0, data=plan.data, overwrite=True)
        labels = folder / "train.csv"
    splits = Splits(test, folder)
    for seed in range(plan.seeds):
        if not (splits.train(seed).exists() and splits.check(seed).exists()):
            split_table(labels, splits.train(seed).parent, CHECK_SHARE, seed, data=plan.data, overwrite=True)
    return splits


@attrs.frozen(eq=False)
class Tested:
    """The frames that are measured."""

    frames: list[Label]
    groups: Any
    """(frames,) near-duplicates share a number."""
    notes: tuple[str, ...]


def read_tested(plan: Plan, splits: Splits) -> Tested:
    """Frames, groups, and what a reader should know; UsageError where a frame is both learned and measured."""
    tested = read_labels(splits.test, plan.data)
    learned = [frame for file in (splits.train(0), splits.check(0)) for frame in read_labels(file, plan.data)]
    if not tested:
        raise UsageError(f"{splits.test}: expected at least one labelled frame, found none")
    shared = sorted({frame.path.resolve() for frame in tested} & {frame.path.resolve() for frame in learned})
    if shared:
        raise UsageError(f"--val: {shared[0].name} stands in --labels too ({len(shared)} such frames)")
    groups = near_duplicate_groups([frame.path for frame in [*tested, *learned]])
    seen = set(groups[len(tested) :].tolist())
    near = sum(group in seen for group in groups[: len(tested)].tolist())
    notes = (f"measured frames that are near-duplicates of learned ones: {near}",) if near else ()
    return Tested(tested, groups[: len(tested)], notes)
