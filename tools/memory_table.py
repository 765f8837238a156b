"""Table 4 of FetusMapV2 again: input size, memory, parameters and step time of UNet, GCP, REV and GCP+REV, each also
with convolutions of concatenations in slabs, which the paper does not have."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence

import torch
from torch import nn

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.pipelines.fetusmap.network import PAPER_WIDTHS, UNet3d
from aop_pose.pipelines.fetusmap.planner import Plan, dry_peak, max_input_size, plan_memory, step_peak
from aop_pose.pipelines.fetusmap.planner.memory import mean_square
from aop_pose.pipelines.fetusmap.planner.plan import Method

METHODS: list[tuple[str, Method]] = [("UNet", "plain"), ("UGCP", "gcp"), ("UREV", "rev"), ("UGCPREV", "gcp+rev")]
ROWS = [(name + " in slabs" * parts, method, parts) for parts in (False, True) for name, method in METHODS]
"""Name, method, and whether convolutions of concatenations are computed in slabs."""
SIZE = (176, 112, 112)  # depth, height, width: what the plain U-Net of the paper is trained at
LARGE = (256, 160, 160)  # the paper's UNet-L
GIB = 2**30
COPIES = 4  # weights, gradients and Adam's two moments


def seconds_of(modules: Sequence[nn.Module], size: Sequence[int], device: str, repeats: int) -> list[list[float]]:
    """Seconds of each training step, the networks taking turns; on a CPU those of the one thread, not of the clock."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    volume = torch.randn(1, 1, *size, device=device)
    times: list[list[float]] = [[] for _ in modules]
    for turn in range(repeats + 1):
        for module, taken in zip(modules, times, strict=True):
            begin = clock()
            mean_square(module(volume)).backward()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first turn warms up
                taken.append(clock() - begin)
    return times


def memory_table(
    widths: Sequence[int],
    size: Sequence[int],
    check: Sequence[int],
    slowdown: float,
    device: str,
    repeats: int,
    names: Sequence[str] = (),
) -> str:
    """Markdown: memory at ``size`` by a step without data; memory and time of real steps at ``check``.

    ``names``: the rows that are made beside the first one; empty = all.
    """
    rows = [ROWS[0], *(row for row in ROWS[1:] if not names or row[0] in names)]
    network = UNet3d(widths=widths)
    if any(axis % network.stride for axis in (*size, *check)):
        raise UsageError(f"sizes: expected multiples of {network.stride}, found {tuple(size)} and {tuple(check)}")
    plans: list[Plan] = [
        plan_memory(network, [torch.empty(1, 1, *size, device="meta")], method, slowdown, parts=parts)
        for _, method, parts in rows
    ]
    modules = [network.to(device), *(plan.apply(network).to(device) for plan in plans[1:])]
    volume = torch.randn(1, 1, *check, device=device)
    times = seconds_of(modules, check, device, repeats)
    lines = [
        "| method | input | activations GiB | total GiB | of UNet | parameters MiB | reversed | in slabs "
        f"| estimated x UNet | at {list(check)}: counted / estimated MiB | median s a step (least-most) | x UNet |",
        "|" + " --- |" * 12,
    ]
    base = statistics.median(times[0])
    plain_total = 0.0
    for (name, *_), plan, module, taken in zip(rows, plans, modules, times, strict=True):
        parameters = sum(parameter.nbytes for parameter in module.parameters())
        total = (plan.planned_bytes + COPIES * parameters) / GIB
        plain_total = plain_total or total
        counted, estimated = step_peak(module, [volume]), dry_peak(module, [volume])
        lines.append(
            f"| {name} | {list(size)} | {plan.planned_bytes / GIB:.2f} ({0 - 100 * plan.saving:+.1f} %) | {total:.2f} "
            f"| {100 * total / plain_total:.0f} % | {parameters / 2**20:.2f} | {len(plan.reversed_passes)} "
            f"| {len(plan.slabs)} | {plan.slowdown:.2f} "
            f"| {counted / 2**20:.1f} / {estimated / 2**20:.1f} | {statistics.median(taken):.2f} "
            f"({min(taken):.2f}-{max(taken):.2f}) | {statistics.median(taken) / base:.2f} |"
        )
    large = dry_peak(network, [torch.empty(1, 1, *LARGE, device="meta")]) / GIB
    fixed = COPIES * sum(parameter.nbytes for parameter in network.parameters()) / GIB
    lines.append(
        f"| UNet-L (estimate) | {list(LARGE)} | {large:.2f} | {large + fixed:.2f} "
        f"| {100 * (large + fixed) / plain_total:.0f} % | {fixed * 1024 / COPIES:.2f} | 0 | 0 | - | - | - | - |"
    )
    return "\n".join(lines)


def whole(text: str) -> int:
    """A number of 1 or more."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, found {text!r}")
    return int(text)


def largest_inputs(widths: Sequence[int], size: Sequence[int], budget: float, slowdown: float) -> list[str]:
    """A line a method: the largest input of the proportions of ``size`` whose training step fits so many GiB."""
    network = UNet3d(widths=widths)
    lines = []
    for name, method in METHODS:
        found = max_input_size(network, size, budget, network.stride, method=method, max_slowdown=slowdown)
        fits = f"the largest input in {budget} GiB is {list(found)}" if found else f"nothing fits in {budget} GiB"
        lines.append(f"{name}: {fits}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Example: python tools/memory_table.py --check 32 32 32 --repeats 5"
    )
    parser.add_argument("--widths", type=whole, nargs="+", default=list(PAPER_WIDTHS))
    parser.add_argument("--size", type=whole, nargs=3, default=list(SIZE), help="depth height width")
    parser.add_argument("--check", type=whole, nargs=3, default=[32, 32, 32], help="size of the steps really run")
    parser.add_argument("--slowdown", type=float, default=1.3, help="the longest a step may take, x the plain one")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--repeats", type=whole, default=5)
    parser.add_argument(
        "--rows", nargs="+", default=[], choices=[row[0] for row in ROWS], help="beside the first (default: all)"
    )
    parser.add_argument("--budget", type=float, help="also say the largest input that fits so many GiB")
    arguments = parser.parse_args()
    try:
        if arguments.device == "cpu":
            torch.set_num_threads(1)
        elif not torch.cuda.is_available():
            raise UsageError("--device: expected cpu, since there is no CUDA device, found cuda")
        print(
            memory_table(
                arguments.widths,
                arguments.size,
                arguments.check,
                arguments.slowdown,
                arguments.device,
                arguments.repeats,
                arguments.rows,
            )
        )
        if arguments.budget is not None:
            print(*largest_inputs(arguments.widths, arguments.size, arguments.budget, arguments.slowdown), sep="\n")
    except AopPoseError as error:
        print(f"memory_table: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
