"""A trainer of YOLO that trains nothing, for promises about the order of stages: what lies around it is real.

Each epoch moves the weights by noise that follows from the seed, the frames with their labels and weights, and the
epoch: stages and rounds differ, runs on the same frames are equal, and a resumed run has what a straight one has.
"""

from __future__ import annotations

import copy
import zlib
from contextlib import contextmanager

import attrs
import numpy as np
import pytest
import torch

from aop_pose.pipelines.job import Step
from aop_pose.pipelines.run import METRICS, append_row, best_row, keep_rows

BATCHES = 2


def digest(examples):
    """A number of all that the examples hold."""
    values = [value for example in examples for value in attrs.astuple(example, recurse=False)]
    parts = (value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode() for value in values)
    return zlib.crc32(b";".join(parts))


def fit(trainer, run, **facts):
    """In the place of ``resumable.fit``: the same files, the same calls of the job."""
    job, config = trainer.job, trainer.config
    run.save(precision="fp32", device=job.device, device_name="none", **facts)
    table, weights = job.out / METRICS, job.out / "weights"
    done = len(table.read_text().splitlines()) - 1 if job.resume and table.is_file() else 0
    keep_rows(table, done)
    trainer.data = trainer.get_dataset()
    trainer.setup_model()
    learned = digest(trainer.examples)
    for epoch in range(config.epochs):
        draw = np.random.default_rng([job.seed, learned, epoch])
        torch.manual_seed(int(draw.integers(2**31)))
        with torch.no_grad():
            for value in trainer.model.parameters():
                value.add_(torch.randn_like(value), alpha=0.01)
        errors = {name: float(draw.uniform(0.1, 0.9)) for name in trainer.checked}
        if epoch < done:
            continue
        for batch in range(1, BATCHES + 1):
            job.on_batch(Step(epoch + 1, config.epochs, batch, BATCHES, 1.0))
        for name in ("best.pt", "last.pt"):
            torch.save({"epoch": epoch, "model": copy.deepcopy(trainer.model), "train_args": {}}, weights / name)
        row = {"epoch": epoch + 1, "seconds": 0.0, "train/loss": 1.0, **errors}
        append_row(table, row)
        job.on_epoch(row)
    run.finish(best=best_row(table, trainer.checked), torch_threads=1)
    return run.record


@contextmanager
def stubbed():
    """Trainings by the stub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aop_pose.pipelines.yolo.resumable.fit", fit)
        yield
