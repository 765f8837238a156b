"""Would a second look of a lower resolution do? Its time, its points and its outlines beside those of the full one.

The network of an artefact of heatmaps, one that weighs its turns once (``lighten_artefact``), is shown each labelled
frame as it is, and as a second look sees it, at each size. The table tells, for each point in pixels of the 512 scale,
how far the second look is from the label, from the first look (what the gate calls steadiness) and from the second look
at full size, and the Dice of its outlines with those at full size.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import cv2
import numpy as np
import onnx
from ablation import SCALE

from aop_pose.core.letterbox import fit
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.registry import read_labels
from aop_pose.inference.engine import onnx_network
from aop_pose.inference.predictor import INSIDE, Contract, as_inputs, load, read_output
from aop_pose.io.images import read_frame
from aop_pose.trust.passes import widen

Network = Callable[[np.ndarray], np.ndarray]


def at_size(file: Path, size: int, turns: bool) -> Network:
    """The network of an artefact for inputs of another size, without the turns, which know one size alone."""
    model = onnx.load(file)
    graph = model.graph
    (last,) = [node for node in graph.node if node.output[0] == graph.output[0].name]
    if turns:
        last.input.pop()
    giver = {name: node for node in graph.node for name in node.output}
    needed, left = list[onnx.NodeProto](), [last]
    while left:
        node = left.pop()
        if node not in needed:
            needed.append(node)
            left += [giver[name] for name in node.input if name in giver]
    kept = [node for node in graph.node if node in needed]
    if turns and any(node.op_type == "Gemm" for node in kept):
        raise UsageError(f"expected turns that are weighed once, found others in {file}; lighten_artefact.py mends it")
    del graph.node[:]
    graph.node.extend(kept)
    for place in (2, 3):
        graph.input[0].type.tensor_type.shape.dim[place].dim_value = size
    for number, along in enumerate(graph.output[0].type.tensor_type.shape.dim):
        along.dim_param = f"any_{number}"
    return onnx_network(model.SerializeToString(), file, "cpu", 1)[0]


@attrs.frozen(eq=False)
class Look:
    """One look: points in pixels of the frame, which pixels of the frame each structure covers, and its seconds."""

    points: np.ndarray
    inside: np.ndarray
    seconds: float


def look(network: Network, contract: Contract, pixels: np.ndarray, size: int) -> Look:
    """``pixels`` at ``size``, its points in pixels of it."""
    fitted, box = fit(pixels, size)
    shown = as_inputs([fitted])
    begin = time.process_time()
    (answer,) = network(shown)
    seconds = time.process_time() - begin
    points, _ = read_output(answer, contract.model_copy(update={"image_size": size}))
    shares = answer[len(points) : len(points) + len(contract.outlines)]
    inside = [cv2.resize(share, (contract.image_size,) * 2) > INSIDE for share in shares]
    return Look(box.backward(points), np.array(inside), seconds)


def table(artefact: Path, data: Path, labels: str, sizes: Sequence[int], count: int) -> str:
    """Markdown, a row a size; UsageError where the artefact is none of heatmaps."""
    contract = load(artefact).contract
    if contract.head != "heatmap":
        raise UsageError(f"expected an artefact of heatmaps, found the head {contract.head}")
    sizes = [contract.image_size, *(size for size in sizes if size != contract.image_size)]
    networks = {size: at_size(artefact, size, contract.stances) for size in sizes}
    frames = read_labels(data / labels, data)
    rows: dict[int, list[tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]] = {size: [] for size in sizes}
    for frame in frames[:: max(1, len(frames) // count)][:count]:
        pixels = read_frame(frame.path).pixels
        again, place = widen(pixels)
        first = look(networks[sizes[0]], contract, pixels, sizes[0]).points
        looks = {size: look(networks[size], contract, again, size) for size in sizes}
        full, unit = looks[sizes[0]], SCALE / max(pixels.shape)
        for size, one in looks.items():
            both = (one.inside & full.inside).sum(axis=(1, 2))
            dice = 2 * both / np.maximum(1, one.inside.sum(axis=(1, 2)) + full.inside.sum(axis=(1, 2)))
            others = (frame.keypoints.coords + place, first + place, full.points)
            far = [np.linalg.norm(one.points - other, axis=1) * unit for other in others]
            rows[size].append((one.seconds / full.seconds, *far, dice))  # type: ignore[arg-type]
    lines = [
        "| size | time | mean error (px) | from the first look, median | the same, 95 % | from the full one, median "
        "| Dice |",
        "| --- " * 7 + "|",
    ]
    for size, found in rows.items():
        times, error, first_look, full_look, dice = zip(*found, strict=True)
        cells = [np.mean(error, axis=0), np.median(first_look, axis=0), np.percentile(first_look, 95, axis=0)]
        cells.append(np.median(full_look, axis=0))
        words = [", ".join(f"{value:.1f}" for value in cell) for cell in cells]
        words.append(", ".join(f"{value:.3f}" for value in np.mean(dice, axis=0)))
        lines.append(f"| {size} | {statistics.median(times):.2f} | {' | '.join(words)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/second_look.py lighter.onnx --data psfhs --labels labelled.csv",
    )
    parser.add_argument("artefact", type=Path, metavar="FILE.onnx")
    parser.add_argument("--data", type=Path, required=True, help="psfhs folder")
    parser.add_argument("--labels", default="labelled.csv", help="frames that are looked at")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 192], help="beside the full one; multiples of 32")
    parser.add_argument("--count", type=int, default=100, help="frames, evenly over the labels")
    given = parser.parse_args()
    try:
        print(table(given.artefact, given.data, given.labels, given.sizes, given.count))
    except AopPoseError as error:
        print(f"second_look: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
