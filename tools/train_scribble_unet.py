"""Train the offline stand-in for ScribblePrompt: phantoms and hc18 outlines with simulated strokes, then ONNX.

It never sees a mask or a picture of PSFHS. Writes FILE.onnx and FILE.run.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from aop_pose.errors import AopPoseError
from aop_pose.inference import weights as artefacts
from aop_pose.io.files import replacing
from aop_pose.provenance import sha256_of
from aop_pose.scribbles.segmenters.base import CHANNELS, SIDE
from aop_pose.scribbles.segmenters.networks import build_network
from lib.simulated import Sampler, hc18_sources, phantom_sources

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
LEARNING_RATE = 3e-3  # Adam; cosine down to zero, 50 steps of warm-up
WARM_UP = 50
FEATURES = (32, 32, 32, 32)  # the official network has 192: a thirtieth of the work, under 1 MB instead of 16
HELD_OUT = 64  # phantoms of another seed, only for the figure in the run record


def train(sampler: Sampler, steps: int, batch: int, seed: int, threads: int) -> Any:
    """The network after ``steps`` steps of Adam on BCE + soft Dice."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    network = build_network(FEATURES).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda k: min((k + 1) / WARM_UP, 1) * 0.5 * (1 + np.cos(np.pi * k / steps))
    )
    rng, began, losses = np.random.default_rng(seed), time.time(), []
    for step in range(steps):
        inputs, target = (torch.from_numpy(array) for array in sampler.batch(rng, batch))
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(inputs.to(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), target)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            print(
                f"step {step + 1}/{steps} loss {np.mean(losses[-50:]):.4f} {time.time() - began:.0f} s",
                flush=True,
            )
    return network.eval()


def loss_of(logits: Any, target: Any) -> Any:
    """Binary cross-entropy + (1 - soft Dice), each a mean over the batch; both (B, 1, S, S)."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    probability = logits.sigmoid()
    inside = (probability * target).sum((1, 2, 3))
    total = probability.sum((1, 2, 3)) + target.sum((1, 2, 3))
    dice = (2 * inside + 1) / (total + 1)
    return binary_cross_entropy_with_logits(logits, target) + (1 - dice).mean()


def hard_dice(network: Any, sampler: Sampler, seed: int) -> float:
    """Mean Dice at probability 0.5 over held-out samples, made as the training samples are."""
    import torch

    inputs, target = sampler.batch(np.random.default_rng(seed), HELD_OUT)
    with torch.no_grad():
        found = network(torch.from_numpy(inputs)).numpy() > 0
    truth = target > 0.5
    both = (found & truth).sum((1, 2, 3))
    return float(np.mean(2 * both / np.maximum(found.sum((1, 2, 3)) + truth.sum((1, 2, 3)), 1)))


def export(network: Any, file: Path, record: dict[str, Any]) -> None:
    """ONNX with a free batch size and the run record in its metadata."""
    import onnx
    import torch

    with replacing(file) as part, warnings.catch_warnings():
        # The newer exporter needs one more package and gives nothing more for a plain convolutional network.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network.to(memory_format=torch.contiguous_format),
            (torch.zeros(1, len(CHANNELS), SIDE, SIDE),),
            str(part),
            input_names=["inputs"],
            output_names=["logits"],
            dynamic_axes={"inputs": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
        model = onnx.load(part)
        onnx.helper.set_model_props(model, {"aop_pose_scribble": json.dumps(record)})
        onnx.save(model, part)


def release(file: Path, record: dict[str, Any], weights: Path = WEIGHTS) -> artefacts.Artefact:
    """Copy the ONNX and its run record among the shipped weights and replace the entry of the manifest."""
    name = record["name"]
    entry = artefacts.Artefact(
        name=name,
        file=f"{name}.onnx",
        sha256=sha256_of(file),
        bytes=file.stat().st_size,
        schema_name="scribble",
        licence=record["licence"],
        training_run=f"{name}.run.json",
    )
    shutil.copyfile(file, weights / entry.file)
    shutil.copyfile(file.with_suffix(".run.json"), weights / entry.training_run)
    others = [other for other in artefacts.manifest(weights) if other.name != name]
    artefacts.write_manifest(sorted([*others, entry], key=lambda one: one.name), weights)
    return entry


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python tools/train_scribble_unet.py --hc18 data/hc18 --out scribble-unet.onnx --release",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument("--hc18", type=Path, metavar="DIR", help="HC18 with labelled.csv; left out where not given")
    parser.add_argument("--phantoms", type=int, default=1000, help="made-up frames to train on (default 1000)")
    parser.add_argument("--steps", type=int, default=1200, help="default 1200")
    parser.add_argument("--batch", type=int, default=16, help="default 16")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default 1)")
    parser.add_argument("--release", action="store_true", help="put it among the shipped weights")
    given = parser.parse_args()
    began = time.time()
    try:
        sources = phantom_sources(given.seed, given.phantoms)
        outlines = hc18_sources(given.hc18) if given.hc18 else []
        sampler = Sampler(sources, outlines)
        print(
            f"{len(sources)} phantoms, {len(outlines)} hc18 outlines after {time.time() - began:.0f} s",
            flush=True,
        )
        network = train(sampler, given.steps, given.batch, given.seed, given.threads)
    except AopPoseError as error:
        print(f"train_scribble_unet: error: {error}", file=sys.stderr)
        return error.exit_code
    held_out = Sampler(phantom_sources(given.seed + 1, HELD_OUT), [])
    record = {
        "name": "scribble-unet",
        "channels": CHANNELS,
        "side": SIDE,
        "features": FEATURES,
        "phantoms": given.phantoms,
        "hc18_outlines": len(outlines),
        "steps": given.steps,
        "batch": given.batch,
        "seed": given.seed,
        "dice_held_out_phantoms": round(hard_dice(network, held_out, given.seed), 4),
        "python": platform.python_version(),
        "seconds": round(time.time() - began),
        "licence": "AGPL-3.0-or-later",
    }
    export(network, given.out, record)
    with replacing(given.out.with_suffix(".run.json")) as part:
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB; {json.dumps(record)}")
    if given.release:
        print(f"released as {release(given.out, record).model_id}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
