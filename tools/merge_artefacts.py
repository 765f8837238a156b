"""Several heatmap artefacts -> one whose maps are the mean of theirs, with weights stored in half precision.

The members have to promise the same (schema, input size, decoding rule). The maps of the points are the mean over all;
those of outlines and stances too where all members have them, else they are the first member's. FILE.onnx:N names one
network of a file that was merged before. Weights are stored in 16 bits and calculated in 32; how far that moves the
points of a frame is printed. The file is an artefact like any other.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference import predictor as runtime
from aop_pose.io.discover import discover
from aop_pose.io.files import replacing
from aop_pose.io.images import read_frames

SAME = ("schema_name", "head", "image_size", "decode")
POINTS = "points/{}"
"""Name of the maps of a member's points, where they are cut out of all its maps."""
LARGE = 256
"""Tensors of fewer numbers stay in 32 bits: they weigh nothing and hold scales."""


def merge(members: list[onnx.ModelProto], points: int, maps: Sequence[int]) -> onnx.ModelProto:
    """One graph with one input ``gray`` and one output ``maps``.

    Of each member's ``maps`` the first ``points`` are those of the points, whose mean is taken; what the first member
    has beyond them follows. Where all have as many maps, all are means.
    """
    merged = None
    for number, member in enumerate(members):
        part = compose.add_prefix(member, f"m{number}/")
        # Each member's contract; the merged network gets one of its own.
        del part.metadata_props[:]
        merged = part if merged is None else compose.merge_models(merged, part, io_map=[])
    assert merged is not None
    graph = merged.graph
    outputs = [value.name for value in graph.output]
    shapes = graph.output[0].type, graph.input[0].type
    inputs = {value.name for value in graph.input}
    for node in graph.node:
        node.input[:] = ["gray" if name in inputs else name for name in node.input]
    if len(set(maps)) == 1:
        graph.node.append(helper.make_node("Mean", outputs, ["maps"], name="mean"))
    else:
        _mean_of_points(graph, outputs, points, maps)
    del graph.input[:]
    del graph.output[:]
    graph.input.append(onnx.ValueInfoProto(name="gray", type=shapes[1]))
    graph.output.append(onnx.ValueInfoProto(name="maps", type=shapes[0]))
    return merged


def _mean_of_points(graph: onnx.GraphProto, outputs: Sequence[str], points: int, maps: Sequence[int]) -> None:
    """The mean of the first maps of each output, and the further ones of the first."""

    def cut(output: str, begin: int, end: int, name: str) -> str:
        for what, value in (("begin", begin), ("end", end)):
            graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), f"{name}/{what}"))
        graph.node.append(
            helper.make_node("Slice", [output, f"{name}/begin", f"{name}/end", "axis/maps"], [name], name=f"{name}/cut")
        )
        return name

    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axis/maps"))
    parts = [cut(output, 0, points, POINTS.format(number)) for number, output in enumerate(outputs)]
    graph.node.append(helper.make_node("Mean", parts, ["points/mean"], name="mean"))
    rest = cut(outputs[0], points, maps[0], "rest")
    graph.node.append(helper.make_node("Concat", ["points/mean", rest], ["maps"], axis=1, name="join"))


def member_of(words: str, folder: Path) -> Path:
    """FILE.onnx as it is; of FILE.onnx:N network N of a merged artefact, written into a folder. UsageError."""
    file, _, number = words.partition(":")
    if not number:
        return Path(file)
    contract, model = runtime.load(file).contract, onnx.load(file)
    runs = contract.training_run.get("members", [])
    if not number.isdecimal() or int(number) >= len(runs):
        raise UsageError(f"{words}: expected one of the {len(runs)} networks that {file} was merged of, found {number}")
    (mean,) = (node for node in model.graph.node if node.name == "mean")
    output = mean.input[int(number)]
    # The extractor asks for the type of what it takes out.
    model.graph.value_info.append(onnx.ValueInfoProto(name=output, type=model.graph.output[0].type))
    part = onnx.utils.Extractor(model).extract_model(["gray"], [output])
    changes: dict[str, Any] = {"training_run": runs[int(number)], "calibration": None, "gate": None}
    if output == POINTS.format(number):
        changes |= {"outlines": (), "stances": False}
    facts = contract.model_copy(update=changes).model_dump_json(by_alias=True)
    helper.set_model_props(part, {runtime.METADATA_KEY: facts})
    onnx.save(part, folder / f"{number}-of-{Path(file).name}")
    return folder / f"{number}-of-{Path(file).name}"


def halve(model: onnx.ModelProto) -> None:
    """Store the large tensors in 16 bits, each cast back when the file is loaded."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= LARGE:
            name = tensor.name
            short = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(short, f"{name}/half"))
            casts.append(helper.make_node("Cast", [f"{name}/half"], [name], to=TensorProto.FLOAT, name=f"{name}/cast"))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def contract_of(contracts: list[runtime.Contract], name: str) -> runtime.Contract:
    """What the merged network promises; UsageError where the members differ or are no heatmap networks."""
    first = contracts[0]
    for other in contracts:
        if other.head != "heatmap":
            raise UsageError(f"{other.name}: expected the head heatmap, found {other.head}")
        for field in SAME:
            if getattr(other, field) != getattr(first, field):
                raise UsageError(
                    f"{other.name}: expected {field} {getattr(first, field)} as {first.name} has, found "
                    f"{getattr(other, field)}"
                )
    runs: dict[str, Any] = {"members": [contract.training_run for contract in contracts], "weights": "float16"}
    return first.model_copy(update={"name": name, "training_run": runs, "calibration": None, "gate": None})


def run(members: list[Path], out: Path, frames: Path) -> float:
    """Merge the files into ``out``; how far 16 bits move a point, in pixels of the input."""
    predictors = [runtime.load(path) for path in members]
    contract = contract_of([predictor.contract for predictor in predictors], out.stem)
    points = len(contract.schema_of_points.points)
    maps = [predictor.contract.maps for predictor in predictors]
    if max(maps) > maps[0]:
        raise UsageError(f"{members[0].name}: expected the member with most maps first, found {maps[0]}")
    model = merge([onnx.load(path) for path in members], points, maps)
    halve(model)
    helper.set_model_props(model, {runtime.METADATA_KEY: contract.model_dump_json(by_alias=True)})
    onnx.checker.check_model(model)
    with replacing(out) as part:
        onnx.save(model, part)
    return compare(predictors, runtime.load(out), frames)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/merge_artefacts.py a.onnx b.onnx --out aop-best.onnx --frames psfhs/images",
    )
    parser.add_argument(
        "members", nargs="+", metavar="FILE.onnx[:N]", help="artefacts with the head heatmap; one is only halved"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=Path, required=True, help="frames on which 16 bits are compared with 32")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            moved = run([member_of(words, Path(folder)) for words in options.members], options.out, options.frames)
    except AopPoseError as error:
        print(f"merge_artefacts: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB; 16 bits move a point by {moved:.4f} px at most")
    return 0


def compare(members: list[runtime.Predictor], merged: runtime.Predictor, frames: Path, count: int = 32) -> float:
    """Largest distance in pixels of the input between points of the mean maps and of the merged network."""
    pictures = [frame.pixels for entry in discover([frames]).entries[:count] for frame in read_frames(entry)]
    farthest = 0.0
    for picture in pictures:
        points = len(merged.schema.points)
        maps = np.mean([member.raw_outputs([picture])[0].output[:points] for member in members], axis=0)
        whole = runtime.read_output(maps, merged.contract)[0]
        short = runtime.read_output(merged.raw_outputs([picture])[0].output, merged.contract)[0]
        farthest = max(farthest, float(np.abs(whole - short).max()))
    return farthest


if __name__ == "__main__":
    sys.exit(main())
