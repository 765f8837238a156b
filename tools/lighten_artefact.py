"""An artefact of a heatmap network that tells how a picture stands, without work that changes no bit of its answers.

Its exporter of before took the softmax of the eight turns at each place of a map, where they are the same everywhere.
Here it is taken once, and then spread. Contract and weights stay as they are. Nothing is written unless both files give
the same bits on every frame of --frames.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx

from aop_pose.core.letterbox import fit
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference.predictor import as_inputs, load
from aop_pose.io.discover import discover
from aop_pose.io.files import replacing
from aop_pose.io.images import read_frames
from aop_pose.trust.passes import widen


def lighten(graph: onnx.GraphProto) -> None:
    """Softmax of the turns before they are spread; UsageError where there is no such place in the graph."""
    giver = {name: node for node in graph.node for name in node.output}
    for softmax in [node for node in graph.node if node.op_type == "Softmax"]:
        chain = [softmax]
        for wanted in ("Slice", "Cast", "Concat"):
            found = giver.get(chain[-1].input[0])
            chain.append(found if found is not None and found.op_type == wanted else softmax)
        _, part, cast, joined = chain
        spread = giver.get(joined.input[-1])
        if joined is softmax or len(joined.input) != 2 or spread is None or spread.op_type != "Expand":
            continue
        once = onnx.NodeProto()
        once.CopyFrom(softmax)
        once.input[0], once.output[0] = spread.input[0], f"{softmax.output[0]}_once"
        spread.input[0], spread.output[0] = once.output[0], softmax.output[0]
        cast.input[0] = joined.input[0]
        graph.node.insert(list(graph.node).index(spread), once)
        for node in (softmax, part, joined):
            graph.node.remove(node)
        _drop_unused(graph)
        return
    raise UsageError("expected a network that takes the softmax of its turns at each place, found none")


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Leave out constants that nothing takes any more."""
    taken = {name for node in graph.node for name in node.input} | {one.name for one in graph.output}
    for node in [node for node in graph.node if node.op_type == "Constant" and node.output[0] not in taken]:
        graph.node.remove(node)


def run(given: argparse.Namespace) -> int:
    """Write the lighter artefact; returns how many pictures it was compared on."""
    model = onnx.load(given.artefact)
    lighten(model.graph)
    onnx.checker.check_model(model)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(given.out) as part:
        onnx.save(model, part)
        before, now = load(given.artefact), load(part)
        size, compared = before.contract.image_size, 0
        for entry in discover([given.frames]).entries:
            for frame in read_frames(entry):
                # As it is, and as a second look sees it.
                for pixels in (frame.pixels, widen(frame.pixels)[0]):
                    shown = as_inputs([fit(pixels, size)[0]])
                    if not np.array_equal(before.network(shown), now.network(shown)):
                        raise AopPoseError(f"{entry.source}: the lighter network answers otherwise; nothing is written")
                    compared += 1
        if not compared:
            raise UsageError(f"--frames: expected frames in {given.frames}, found none")
    return compared


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/lighten_artefact.py aop-fast.onnx --frames psfhs/images --out lighter.onnx",
    )
    parser.add_argument("artefact", type=Path, metavar="FILE.onnx")
    parser.add_argument("--frames", type=Path, required=True, help="folder of frames on which both must agree")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx")
    try:
        compared = run(parser.parse_args())
    except AopPoseError as error:
        print(f"lighten_artefact: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"the same bits on {compared} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
