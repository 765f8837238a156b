"""What a training step with a weight a frame costs more than one with Ultralytics' own pose loss."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from aop_pose.pipelines.isolation import isolate


def step_costs(size: int, batch: int, steps: int, threads: int) -> str:
    """Markdown table: forward, loss, backward on the same pictures, by turns, after two of each that do not count.

    Processor seconds of all threads, which other work on the machine disturbs less than the clock.
    """
    isolate()
    import torch
    from ultralytics.nn.tasks import PoseModel
    from ultralytics.utils import DEFAULT_CFG
    from ultralytics.utils.loss import v8PoseLoss

    from aop_pose.pipelines.yolo.network import FrameWeight, WeightedPoseLoss

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model: Any = PoseModel("yolo11n-pose.yaml", nc=1, data_kpt_shape=[3, 2], verbose=False).train()
    model.args, model.kpt_oks_sigmas = DEFAULT_CFG, [0.05] * 3
    model.to(memory_format=torch.channels_last)
    names = [f"{i}.png" for i in range(batch)]
    table = {name: FrameWeight(i / batch, i / batch) for i, name in enumerate(names)}
    labels = {
        "im_file": names, "batch_idx": torch.arange(batch).float(), "cls": torch.zeros(batch, 1),
        "bboxes": torch.tensor([[0.5, 0.4, 0.6, 0.3]]).repeat(batch, 1), "keypoints": torch.rand(batch, 3, 2),
        "img": torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last),
    }  # fmt: skip
    losses: dict[str, Callable[..., Any]] = {
        "stock": v8PoseLoss(model), "weighted": WeightedPoseLoss(model, table, size),
    }  # fmt: skip
    whole: dict[str, list[float]] = {name: [] for name in losses}
    part: dict[str, list[float]] = {name: [] for name in losses}
    for step in range(steps + 2):
        for name in sorted(losses, reverse=bool(step % 2)):
            begin = time.process_time()
            found = model(labels["img"])
            losses[name](found, labels)[0].sum().backward()
            whole[name].append(time.process_time() - begin)
            model.zero_grad()
            cut = {k: v.detach().requires_grad_() if torch.is_tensor(v) else v for k, v in found.items()}
            begin = time.process_time()
            losses[name](cut, labels)[0].sum().backward()
            part[name].append(time.process_time() - begin)
    lines = [f"{threads} threads, {size} px, batch {batch}, {steps} steps of each; median CPU ms (quartiles)", ""]
    lines += ["| loss | step | of it the loss and its gradient at the predictions |", "| --- | --- | --- |"]
    lines += [f"| {name} | {_spread(whole[name][2:])} | {_spread(part[name][2:])} |" for name in losses]
    ratios = [ours / theirs - 1 for ours, theirs in zip(whole["weighted"][2:], whole["stock"][2:], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    added = statistics.median(part["weighted"][2:]) - statistics.median(part["stock"][2:])
    lines += [
        "",
        f"a step costs {middle:+.1%} (median of pairs; quartiles {low:+.1%} to {high:+.1%}); by the loss alone "
        f"{added / statistics.median(whole['stock'][2:]):+.1%} of a step",
    ]
    return "\n".join(lines)


def _spread(seconds: list[float]) -> str:
    low, middle, high = (1000 * value for value in statistics.quantiles(seconds, n=4))
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="Example: python tools/weighted_step.py --size 256")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    print(step_costs(arguments.size, arguments.batch, arguments.steps, arguments.threads))


if __name__ == "__main__":
    main()
