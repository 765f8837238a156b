"""A heatmap network on a YOLO11n with fewer channels in its head: a checkpoint that ``train --init`` goes on from.

Of each layer of the head those channels stay that the next one gets most from.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.pipelines.checkpoint import read_trained, write_checkpoint
from aop_pose.pipelines.unet.config import YOLO, UnetConfig
from aop_pose.pipelines.unet.pipeline import Unet

CHANNELS = (
    ([f"body.lateral.{number}" for number in range(4)], "body.refine.0", ["body.refine.2"]),
    (["body.refine.2"], "body.refine.3", ["body.refine.5"]),
    (["body.refine.5"], "body.refine.6", ["out", "outline.0"]),
    (["outline.0"], "outline.1", ["outline.3"]),
)
"""What gives the channels of a width, their normalisation, and what takes them."""


def prune(file: Path, width: int, out: Path) -> Path:
    """The checkpoint with ``width`` channels; UsageError where it is of another network or has no more."""
    found = read_trained(file, "unet", UnetConfig)
    if found.config.encoder != YOLO or not 1 <= width < found.config.widths[0]:
        raise UsageError(
            f"{file}: expected a head on {YOLO} of more than {width} channels, at least 1, found "
            f"{found.config.widths[0]} on {found.config.encoder}"
        )
    config = found.config.model_copy(update={"widths": (width,)})
    network = Unet().network("train", config)
    network.load_state_dict(pruned(found.state, width))
    write_checkpoint(out, "unet", "train", config, network)
    return out


def pruned(state: dict[str, torch.Tensor], width: int) -> dict[str, torch.Tensor]:
    """The tensors that are left, see ``prune``: scale of the normalisation times the weights behind it."""
    state = dict(state)
    for givers, norm, takers in CHANNELS:
        behind = sum(state[f"{taker}.weight"].abs().sum(dim=(0, 2, 3)) for taker in takers)
        kept = (state[f"{norm}.weight"].abs() * behind).topk(width).indices.sort().values
        for name in (*givers, norm):
            for key in [key for key in state if key.startswith(f"{name}.") and state[key].ndim]:
                state[key] = state[key][kept]
        for taker in takers:
            state[f"{taker}.weight"] = state[f"{taker}.weight"][:, kept]
    return state


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python tools/prune_checkpoint.py runs/start.pt --channels 32 --out narrow.pt",
    )
    parser.add_argument("checkpoint", type=Path, metavar="FILE.pt")
    parser.add_argument("--channels", type=int, required=True, metavar="N")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.pt")
    given = parser.parse_args()
    try:
        print(prune(given.checkpoint, given.channels, given.out))
    except AopPoseError as error:
        print(f"prune_checkpoint: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
