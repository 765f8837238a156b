"""Milliseconds a frame of one training pass of YOLO11n-pose on this processor, by precision and memory layout."""

from __future__ import annotations

import argparse
import time

from aop_pose.inference.engine import usable_cores
from aop_pose.pipelines.isolation import isolate


def training_speed(size: int, batch: int, passes: int) -> str:
    """Markdown table: forward and backward, mean of ``passes`` after one that does not count."""
    isolate()
    import torch
    from ultralytics.nn.tasks import PoseModel
    from ultralytics.utils import DEFAULT_CFG

    torch.set_num_threads(usable_cores())
    model = PoseModel("yolo11n-pose.yaml", nc=1, data_kpt_shape=[3, 2], verbose=False).train()
    model.args = DEFAULT_CFG
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(batch, 3, size, size, generator=generator)
    labels = {
        "batch_idx": torch.arange(batch).float(), "cls": torch.zeros(batch, 1),
        "bboxes": torch.tensor([[0.5, 0.4, 0.6, 0.3]]).repeat(batch, 1),
        "keypoints": torch.rand(batch, 3, 2, generator=generator),
    }  # fmt: skip
    lines = [f"{torch.get_num_threads()} threads, {size} px, batch {batch}", "", "| precision | memory | ms a frame |"]
    lines.append("| --- | --- | --- |")
    for precision in (None, torch.bfloat16):
        for layout in (torch.contiguous_format, torch.channels_last):
            model.to(memory_format=layout)
            seconds = []
            for _ in range(passes + 1):
                begin = time.perf_counter()
                with torch.autocast("cpu", precision or torch.bfloat16, enabled=precision is not None):
                    loss, _ = model({**labels, "img": pictures.contiguous(memory_format=layout)})
                loss.sum().backward()
                seconds.append(time.perf_counter() - begin)
            name = "bfloat16" if precision else "float32"
            memory = "channels last" if layout is torch.channels_last else "channels first"
            lines.append(f"| {name} | {memory} | {sum(seconds[1:]) / passes / batch * 1000:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="Example: python tools/training_speed.py --size 256")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--passes", type=int, default=4)
    arguments = parser.parse_args()
    print(training_speed(arguments.size, arguments.batch, arguments.passes))


if __name__ == "__main__":
    main()
