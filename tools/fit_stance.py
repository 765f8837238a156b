"""Fit how a frame stands (``core.stances``) on the features of a trained network, and write its checkpoint anew.

Training with ``turned`` teaches it beside the points, slowly. Here the rest of the network stays as it is, and the last
layer of the stance alone is fitted: a multinomial logistic regression on frames that are shown in all eight ways, with
the marks, looks and cuts of the run's settings. Prints how often frames of --check are told right.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from aop_pose.core.schemas import AOP
from aop_pose.core.stances import STANCES
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.label import resolve
from aop_pose.formats.registry import read_labels
from aop_pose.inference.predictor import fit
from aop_pose.pipelines import pipeline
from aop_pose.pipelines.checkpoint import fill, read_trained, write_checkpoint
from aop_pose.pipelines.data import phantom_examples, read_examples
from aop_pose.pipelines.export import checkpoint_of
from aop_pose.pipelines.losses import stance_of
from aop_pose.pipelines.unet.config import UnetConfig
from aop_pose.pipelines.unet.training import AXES, frames_of
from aop_pose.trust.passes import SURE

BATCH = 16
PENALTY = 1e-2
"""Of the square of the standardised coefficients, over the number of samples."""
STEPS = 60


@torch.no_grad()
def features_of(network: Any, gray: torch.Tensor) -> torch.Tensor:
    """What the layer of the stance is given for pictures (n, 1, S, S)."""
    found = []
    hook = network.turn.register_forward_hook(lambda layer, given, answer: found.append(given[0]))
    for start in range(0, len(gray), BATCH):
        network(gray[start : start + BATCH])
    hook.remove()
    return torch.cat(found)


def regression(features: torch.Tensor, stances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (8, n) and bias (8,) of the logistic regression, on features as they are."""
    mean, scale = features.mean(dim=0), features.std(dim=0).clamp_min(1e-3)
    standard = (features - mean) / scale
    weight = torch.zeros(len(STANCES), features.shape[1], requires_grad=True)
    bias = torch.zeros(len(STANCES), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(standard @ weight.T + bias, stances)
        loss = loss + PENALTY * (weight**2).sum() / len(STANCES)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        plain = weight / scale
        return plain, bias - plain @ mean


def shown(config: UnetConfig, given: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    """Training frames in all eight ways alike, as often as asked: pictures and stances."""
    labels = read_labels(resolve(given.labels, given.data), given.data, AOP, keep=True)
    examples = read_examples(labels) + phantom_examples(config.phantoms, given.seed)
    alike = config.model_copy(update={"turned": 1 - 1 / len(STANCES), "outlines": False})
    frames = frames_of(alike, examples, given.seed)
    pictures, stances = [], []
    for frames.epoch in range(given.times):
        for i in range(len(frames)):
            gray, rows, _ = frames[i]
            pictures.append(gray)
            stances.append(stance_of(rows[None, -AXES:]))
    return torch.stack(pictures), torch.cat(stances)


def check(network: Any, config: UnetConfig, given: argparse.Namespace) -> str:
    """Markdown: of each way of standing, how many labelled frames are told right, surely right and surely wrong."""
    labels = read_labels(resolve(given.check, given.data), given.data, AOP, keep=True)
    lines = [
        "| a frame that is | frames | right | surely right | surely wrong |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for number, stance in enumerate(STANCES):
        fitted = [fit(stance.apply(label.gray()), config.image_size)[0] for label in labels]
        gray = torch.from_numpy(np.stack(fitted)[:, None]).float() / 255
        shares = functional.softmax(network.turn(features_of(network, gray)), dim=1)
        sure, best = shares.amax(dim=1) >= SURE, shares.argmax(dim=1)
        counts = [(best == number).sum(), (sure & (best == number)).sum(), (sure & (best != number)).sum()]
        lines.append(
            f"| {stance.words or 'upright'} | {len(labels)} | {' | '.join(str(int(count)) for count in counts)} |"
        )
    return "\n".join(lines)


def run(given: argparse.Namespace) -> None:
    file, _ = checkpoint_of(given.run)
    found = read_trained(file, "unet", UnetConfig)
    if not found.config.turned:
        raise UsageError(f"{given.run}: expected a network that tells how a frame stands (turned above 0), found none")
    network = pipeline("unet").network("train", found.config)  # type: ignore[attr-defined]
    fill(network, found.state, file)
    network.eval()
    pictures, stances = shown(found.config, given)
    weight, bias = regression(features_of(network, pictures), stances)
    with torch.no_grad():
        network.turn.weight.copy_(weight)
        network.turn.bias.copy_(bias)
        print(check(network, found.config, given))
    write_checkpoint(file.with_name("stance.pt"), "unet", "train", found.config, network)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/fit_stance.py runs/fast --data psfhs --labels train.csv --check val.csv",
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="run folder or checkpoint; stance.pt is written beside it"
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--labels", required=True, metavar="FILE", help="frames that the network was trained on")
    parser.add_argument("--check", default="val.csv", metavar="FILE")
    parser.add_argument("--times", type=int, default=6, help="how often each frame is shown (default 6)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.monotonic()
    try:
        run(given)
    except AopPoseError as error:
        print(f"fit_stance: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"fit_stance: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
