"""The mean of the weights of several checkpoints of one network, as a checkpoint with the settings of the last.

They are of one training, or of trainings that went on from one another.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.pipelines import pipeline
from aop_pose.pipelines.checkpoint import fill, read_trained, write_checkpoint
from aop_pose.pipelines.unet.config import UnetConfig


def mean_of(states: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of each tensor of numbers; counters are those of the last."""
    return {
        name: torch.stack([state[name] for state in states]).mean(dim=0) if value.is_floating_point() else value
        for name, value in states[-1].items()
    }


def run(given: argparse.Namespace) -> None:
    found = [read_trained(file, "unet", UnetConfig) for file in given.checkpoints]
    shapes = [{name: value.shape for name, value in one.state.items()} for one in found]
    if any(one != shapes[0] for one in shapes):
        raise UsageError("expected checkpoints of one network, found other layers among them")
    network = pipeline("unet").network("train", found[-1].config)  # type: ignore[attr-defined]
    fill(network, mean_of([one.state for one in found]), given.checkpoints[0])
    write_checkpoint(given.out, "unet", "train", found[-1].config, network)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python tools/mean_checkpoint.py weights/best.pt weights/last.pt --out weights/mean.pt",
    )
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="FILE.pt")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.pt")
    try:
        run(parser.parse_args())
    except AopPoseError as error:
        print(f"mean_checkpoint: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
