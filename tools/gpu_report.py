"""A few steps of every paper's preset at full size on this machine: speed, memory, waiting for data, ONNX; as Markdown.

Frames are phantoms. Of each training: samples a second (median step after the first ones), the peak of the GPU's memory
(of the process where there is none), the share of the time that a step waits for its batch (of Lightning's pipelines),
and the largest difference of the exported ONNX's output from the network's, on the CPU and, where this onnxruntime has
the provider, on CUDA. A training that does not fit or does not run says why in its row. --tiny rehearses it all with
networks and frames of the smallest sizes; --minutes is the most that all of it may begin to take.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.errors import AopPoseError
from aop_pose.inference.engine import devices
from aop_pose.inference.predictor import load
from aop_pose.io.images import read_frame
from aop_pose.phantom import write_fetus_phantoms, write_head_phantoms, write_phantoms
from aop_pose.pipelines import load_weights, pipeline
from aop_pose.pipelines.job import Job, Step
from aop_pose.pipelines.run import device_facts

FIRST = 2
"""Steps that are not measured: buffers are made and kernels chosen."""


@attrs.frozen
class Case:
    """A training of a preset."""

    method: str
    preset: str
    verb: str = "train"
    data: str = "aop"
    batch_of: str = "batch"
    tiny: tuple[str, ...] = ()


_TINY = ("precision=fp32", "holdout=0", "threshold=0", "batch=2")
CASES = (
    Case("yolo", "paper", tiny=("image_size=64", "workers=0", *_TINY)),
    Case("unet", "iugc2025", tiny=("image_size=64", "widths=[4,4,4,4]", "bottleneck=8", *_TINY)),
    Case("unet", "head_biometry", data="head", tiny=("image_size=64", "widths=[4,4]", "bottleneck=8", *_TINY)),
    Case(
        "hrnet-gan", "paper",
        tiny=("image_size=64", "encoder=mobilenetv3_small_050", "decoder=[8,8,8,8,8]", "discriminator=2", *_TINY),
    ),
    Case(
        "hrnet-gan", "paper", "pretrain", batch_of="moco_batch",
        tiny=("image_size=64", "encoder=mobilenetv3_small_050", "moco_queue=64", "moco_batch=2", "precision=fp32"),
    ),
    Case("fetusmap", "paper", data="fetus", batch_of="", tiny=("size=[32,32,32]", "widths=[2,4]", *_TINY[:3])),
)  # fmt: skip


@attrs.frozen
class Row:
    """The measurements of a training, or why there are none."""

    case: Case
    seconds: float
    cells: tuple[str, ...] = ()
    failed: str = ""


class Clock:
    """Times of steps, and of waits for their batches."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.waited = 0.0

    def step(self, step: Step) -> None:
        self.steps.append(time.perf_counter())
        if len(self.steps) == FIRST:
            self.waited = 0.0

    @property
    def seconds(self) -> float:
        """Of a step, the median after the first ones."""
        return float(np.median(np.diff(self.steps[FIRST - 1 :])))

    @property
    def share_waited(self) -> float:
        """Of the time after the first steps."""
        return self.waited / (self.steps[-1] - self.steps[FIRST - 1])


def watched(clock: Clock) -> None:
    """Lightning's loaders tell the clock how long each batch is waited for."""
    from torch.utils.data import DataLoader

    from aop_pose.pipelines import lightning

    class Watched(DataLoader):
        def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
            batches = iter(super().__iter__())
            while True:
                begin = time.perf_counter()
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                clock.waited += time.perf_counter() - begin
                yield batch

    lightning.DataLoader = Watched  # type: ignore[misc]


def measured(case: Case, data: Path, out: Path, options: Namespace) -> Row:
    """One training of ``--steps`` steps, and its artefact."""
    begin = time.time()
    clock = Clock()
    watched(clock)
    _reset_peak()
    chosen = pipeline(case.method)
    changes = [*(case.tiny if options.tiny else ()), *_epoch(case), *options.set]
    job = Job(
        data, out, init="scratch", preset=case.preset, changes=chosen.useful(case.verb, changes),
        device=options.device, on_batch=clock.step,
    )  # fmt: skip
    try:
        record = getattr(chosen, case.verb)(job)
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        # A pre-training of a few steps on phantoms may collapse: it was measured all the same.
        if len(clock.steps) <= FIRST or "collapsed" not in said:
            return Row(case, time.time() - begin, failed=said[:160])
        from aop_pose.pipelines.run import read_record

        record = read_record(out)
    settings = record["config"]
    batch = int(settings[case.batch_of]) if case.batch_of else 1
    size = settings.get("size") or settings["image_size"]
    memory = record.get("peak_gpu_memory_mb") or record.get("peak_memory_mb") or 0
    waited = "" if case.method == "yolo" else f"{100 * clock.share_waited:.0f} %"
    differing = parity(out, data, case) if case.verb == "train" else ("", "")
    cells = (
        "x".join(map(str, size)) if isinstance(size, list) else str(size), str(batch), record["precision"],
        f"{batch / clock.seconds:.2f}", f"{memory / 1024:.1f}", waited, *differing,
    )  # fmt: skip
    return Row(case, time.time() - begin, cells)


def _epoch(case: Case) -> tuple[str, ...]:
    """One epoch, with nothing set aside; what a preset frees later is not waited for."""
    if case.verb == "pretrain":
        return ("moco_epochs=1", "moco_holdout=0")
    further = {"hrnet-gan": ("thaw=[]",), "yolo": ("warmup_epochs=0",)}.get(case.method, ())
    return ("epochs=1", "holdout=0", "threshold=0", *further)


def _reset_peak() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
        for number in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(number)


def parity(run: Path, data: Path, case: Case) -> tuple[str, str]:
    """The largest difference of the artefact's output from the network's, on the CPU and on CUDA."""
    pipeline(case.method).export(run, run / "few.onnx")
    if case.data == "fetus":
        # The export has compared them itself, or had failed.
        return "by export", ""
    pictures = [read_frame(path).pixels for path in sorted((data / "images").glob("*.png"))[:4]]
    network = [one.output for one in load_weights(str(run)).raw_outputs(pictures)]
    found = []
    for device in ("cpu", "cuda"):
        if device not in devices():
            found.append("no provider")
            continue
        artefact = [one.output for one in load(run / "few.onnx", device).raw_outputs(pictures)]
        off = max(np.abs(one - other).max() for one, other in zip(network, artefact, strict=True))
        found.append(f"{off:.1g}")
    return found[0], found[1]


def write_data(folder: Path, kind: str, frames: int, tiny: bool) -> Path:
    """Phantoms of a schema, once."""
    place = folder / kind
    if place.is_dir():
        return place
    if kind == "fetus":
        write_fetus_phantoms(place, min(frames, 8), 0, size=24 if tiny else 88)
    elif kind == "head":
        write_head_phantoms(place, frames, 0, size=96 if tiny else 256)
    else:
        write_phantoms(place, frames, 0, size=96 if tiny else 256)
    return place


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| training | input | batch | precision | samples/s | peak memory, GiB | waiting | ONNX, CPU | ONNX, CUDA |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        name = f"{row.case.verb} {row.case.method} {row.case.preset}"
        lines.append(f"| {name} | {' | '.join(row.cells)} |" if row.cells else f"| {name} | {row.failed} |" + " |" * 7)
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/gpu_report.py --device cuda",
    )
    parser.add_argument("--device", default="cuda", help="as train takes it (default: cuda)")
    parser.add_argument("--steps", type=int, default=12, help="of each training")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which no further training begins")
    parser.add_argument("--methods", nargs="+", help="only these pipelines")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting where it is used")
    parser.add_argument("--tiny", action="store_true", help="rehearse with the smallest sizes")
    options = parser.parse_args(arguments)
    begin, rows = time.time(), []
    try:
        device = Job(Path(), Path("none"), device=options.device).device
        facts = device_facts(device)
        with tempfile.TemporaryDirectory() as scratch:
            for number, case in enumerate(CASES):
                if options.methods and case.method not in options.methods:
                    continue
                if time.time() - begin > 60 * options.minutes:
                    rows.append(Row(case, 0, failed="not begun: no time left"))
                    continue
                # The largest batch of all presets is 16, of rehearsals 2; one folder serves every training.
                frames = (options.steps + FIRST) * (2 if options.tiny else 16)
                data = write_data(Path(scratch), case.data, frames, options.tiny)
                rows.append(measured(case, data, Path(scratch) / f"run-{number}", options))
                print(f"{case.verb} {case.method}: {rows[-1].seconds:.0f} s {rows[-1].failed}", file=sys.stderr)
    except AopPoseError as error:
        print(f"gpu_report: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{time.strftime('%Y-%m-%d')}, {facts['device_name']} ({facts['device']}), {time.time() - begin:.0f} s\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
