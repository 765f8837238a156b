"""Truth above, prediction below, heatmaps beside, for any heatmap artefact.

As Figure 3 of Tang et al. (IUGC 2025 baseline): dots are true points, crosses predicted ones; PS1 vermillion, PS2
green, FH1 blue; OFD blue, BPD green. Maps go from dark (0) to yellow (1). A panel shows the frames themselves: one of
patients is not to be committed. Needs matplotlib (the train extra).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aop_pose.core.letterbox import Letterbox, fit
from aop_pose.core.schema import Schema
from aop_pose.draw.frame import colours
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.label import Label
from aop_pose.formats.pictures import read_gray
from aop_pose.formats.registry import read_labels
from aop_pose.inference.decode import encode, to_map
from aop_pose.inference.predictor import Predictor, RawOutput, load

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES = 2.0
"""Width of one picture of the panel."""


def labelled(schema: Schema, file: Path, data: Path, names: Sequence[str]) -> list[Label]:
    """The named frames of a label file of that schema, the first one where none is named."""
    frames = read_labels(file, data, schema)
    by_name = {frame.name: frame for frame in frames}
    unknown = [name for name in names if name not in by_name]
    if unknown or not frames:
        raise UsageError(f"{file}: expected rows of {', '.join(unknown) or 'frames'}, found none")
    return [by_name[name] for name in names] if names else frames[:1]


def panel(predictor: Predictor, frames: Sequence[Label], sigma: float) -> Figure:
    """Two rows a frame; ``sigma`` in pixels of the maps. UsageError where the artefact has no maps."""
    from matplotlib.figure import Figure

    if predictor.contract.head != "heatmap":
        raise UsageError(f"--artefact: expected a heatmap head, found {predictor.contract.head} ({predictor.model_id})")
    names = predictor.schema.points
    across, down = 1 + len(names), 2 * len(frames)
    tallest = _INCHES * max(frame.height / frame.width for frame in frames)
    figure = Figure(figsize=(_INCHES * across, (tallest + 0.1) * down + 0.6), layout="constrained", facecolor="white")
    axes = figure.subplots(down, across, squeeze=False)
    for number, frame in enumerate(frames):
        _draw(predictor, frame, sigma, axes[2 * number], axes[2 * number + 1])
    for axis, title in zip(axes[0], ("", *names), strict=True):
        axis.set_title(title, fontsize=9)
    figure.suptitle(f"{predictor.model_id}: truth (dots) above, prediction (crosses) below", fontsize=9)
    return figure


def _draw(predictor: Predictor, frame: Label, sigma: float, above: Sequence[Axes], below: Sequence[Axes]) -> None:
    pixels = read_gray(frame.path)
    size = predictor.contract.image_size
    picture, box = fit(pixels, size)
    (answer,) = predictor.raw_outputs([pixels])
    maps = np.asarray(answer.output[: len(predictor.schema.points)], dtype=np.float64)
    truth = box.forward(frame.keypoints.coords)
    true_maps = encode(to_map(truth, size / maps.shape[-1]), maps.shape[-2:], sigma)
    found, reason = _found(predictor, answer)
    paints = [(red / 255, green / 255, blue / 255) for blue, green, red in colours(predictor.schema.points)]
    for axes, points, shown, mark in ((above, truth, true_maps, "o"), (below, found, maps, "x")):
        axes[0].imshow(picture, cmap="gray", vmin=0, vmax=255)
        for axis, one in zip(axes[1:], shown, strict=True):
            axis.imshow(one, cmap="viridis", vmin=0, vmax=1, extent=(-0.5, size - 0.5, size - 0.5, -0.5))
        for axis, (x, y), colour in zip(axes[1:], points, paints, strict=True):
            axes[0].plot(x, y, mark, color=colour, markersize=5, markeredgewidth=1.6)
            # On a map every colour of a point would be lost.
            axis.plot(x, y, mark, color="white", markersize=4, markeredgewidth=2.6, fillstyle="none")
            axis.plot(x, y, mark, color="black", markersize=4, markeredgewidth=1, fillstyle="none")
        for axis in axes:
            _crop(axis, box, pixels.shape)
    above[0].set_ylabel(frame.name, fontsize=7)
    below[0].set_ylabel(reason or f"lowest peak {maps.max(axis=(1, 2)).min():.2f}", fontsize=7)


def _found(predictor: Predictor, answer: RawOutput) -> tuple[np.ndarray, str]:
    """Predicted points in pixels of the input, NaN with the reason where the artefact abstains."""
    found = predictor.read(answer)
    if found.keypoints is None:
        return np.full((len(predictor.schema.points), 2), np.nan), "no anatomy found"
    return answer.box.forward(found.keypoints.coords), ""


def _crop(axis: Axes, box: Letterbox, shape: tuple[int, ...]) -> None:
    """Show the picture without the padding of the network's input."""
    (left, top), (right, bottom) = box.forward(np.array([[-0.5, -0.5], [shape[1] - 0.5, shape[0] - 0.5]]))
    axis.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/heatmap_panel.py --artefact weights/head-unet.onnx --labels hc18/labelled.csv "
        "--frame 010_HC.png --out panel.png",
    )
    parser.add_argument("--artefact", type=Path, required=True, help="ONNX file with a heatmap head, of any schema")
    parser.add_argument("--labels", type=Path, required=True, help="label file: iugc, or head-csv for a head")
    parser.add_argument("--data", type=Path, help="folder of the pictures; default: that of the label file")
    parser.add_argument("--frame", action="append", default=[], help="a Filename; again for more; default: the first")
    parser.add_argument("--sigma", type=float, default=2.0, help="of the true maps, in pixels of a map")
    parser.add_argument("--out", type=Path, required=True, help="PNG, SVG or PDF to write")
    arguments = parser.parse_args()
    try:
        predictor = load(arguments.artefact)
        data = arguments.data or arguments.labels.parent
        frames = labelled(predictor.schema, arguments.labels, data, arguments.frame)
        figure = panel(predictor, frames, arguments.sigma)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(arguments.out, dpi=150)
    except AopPoseError as error:
        print(f"heatmap_panel: error: {error}", file=sys.stderr)
        return error.exit_code
    except (OSError, ValueError) as error:
        print(f"heatmap_panel: error: --out {arguments.out}: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.out} (shows the frames themselves: commit none of patients)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
