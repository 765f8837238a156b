"""The smallest artefacts: one that gives its input back as candidates, and one that always shows the same maps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aop_pose.core.schema import SCHEMAS
from aop_pose.core.stances import STANCES
from aop_pose.inference.decode import encode
from aop_pose.inference.predictor import METADATA_KEY
from tests.fakes import contract

SIZE, ROWS, CANDIDATES = 44, 11, 176
"""44 x 44 = 11 x 176: a picture has as many values as the candidates of schema aop."""


def write_artefact(file: Path, metadata: Mapping[str, str] | None = None, **changes: object) -> Path:
    """Write an ONNX file; ``changes`` to its contract may make it one that is not kept, ``metadata`` replaces it.

    Skips the test where onnx, which comes with the train extra, is absent.
    """
    onnx = pytest.importorskip("onnx", reason="onnx comes with the train extra")
    helper, number = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["gray", "shape"], ["candidates"])],
        "tiny",
        [helper.make_tensor_value_info("gray", number.FLOAT, ["batch", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("candidates", number.FLOAT, ["batch", ROWS, CANDIDATES])],
        [helper.make_tensor("shape", number.INT64, [3], [-1, ROWS, CANDIDATES])],
    )
    return _write(file, graph, metadata, {"image_size": SIZE, **changes})


def write_heatmap_artefact(
    file: Path, points: np.ndarray, side: int = 64, further: np.ndarray | None = None, **changes: object
) -> Path:
    """Write an ONNX file whose maps (n, side, side) show ``points`` (n, 2), in pixels of its input of the same side.

    ``further`` maps (m, side, side) follow, of outlines and stances.
    ``changes`` to its contract, as above; its schema is that of so many points.
    """
    onnx = pytest.importorskip("onnx", reason="onnx comes with the train extra")
    helper, number = onnx.helper, onnx.TensorProto
    maps = encode(points, (side, side), 2.0).astype(np.float32)
    count = len(maps)
    if further is not None:
        maps = np.concatenate([maps, further.astype(np.float32)])
    same = (name for name, schema in SCHEMAS.items() if len(schema.points) == count)
    schema = changes.get("schema") or next(same)
    graph = helper.make_graph(
        [
            # Nothing times the input: as many maps as pictures come.
            helper.make_node("ReduceMean", ["gray"], ["mean"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
            helper.make_node("Add", ["zero", "shown"], ["maps"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("gray", number.FLOAT, ["batch", 1, side, side])],
        [helper.make_tensor_value_info("maps", number.FLOAT, ["batch", len(maps), side, side])],
        [
            helper.make_tensor("nothing", number.FLOAT, [1], [0.0]),
            helper.make_tensor("shown", number.FLOAT, [1, *maps.shape], maps.ravel()),
        ],
    )
    fitting = {"image_size": side, "schema": schema, "head": "heatmap", "decode": "subpixel"}
    return _write(file, graph, None, {**fitting, **changes})


def write_heavy_artefact(file: Path, points: np.ndarray, side: int = 64) -> Path:
    """Write an artefact that tells how a picture stands, as exporters of before laid it out.

    Its turns are spread over a map, joined to the others, cut out again and weighed at each place.
    """
    onnx = pytest.importorskip("onnx", reason="onnx comes with the train extra")
    helper, kind, count, turns = onnx.helper, onnx.TensorProto, len(points), len(STANCES)
    given = {
        "shown": encode(points, (side, side), 2.0).astype(np.float32)[None],
        "weights": np.linspace(-3, 9, turns, dtype=np.float32)[None],
        "places": np.array([2, 3]), "size": np.array([1, turns, side, side]), "axis": np.array([1]),
        "start": np.array([count]), "end": np.array([count + turns]),
    }  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["gray"], ["mean"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights"], ["turns"]),
            helper.make_node("Unsqueeze", ["turns", "places"], ["here"]),
            helper.make_node("Expand", ["here", "size"], ["spread"]),
            helper.make_node("Concat", ["shown", "spread"], ["joined"], axis=1),
            helper.make_node("Cast", ["joined"], ["cast"], to=kind.FLOAT),
            helper.make_node("Slice", ["cast", "start", "end", "axis"], ["part"]),
            helper.make_node("Softmax", ["part"], ["shares"], axis=1),
            helper.make_node("Constant", [], ["first"], value=onnx.numpy_helper.from_array(np.array([0]))),
            helper.make_node("Slice", ["cast", "first", "start", "axis"], ["points"]),
            helper.make_node("Concat", ["points", "shares"], ["maps"], axis=1),
        ],
        "heavy",
        [helper.make_tensor_value_info("gray", kind.FLOAT, ["batch", 1, side, side])],
        [helper.make_tensor_value_info("maps", kind.FLOAT, ["batch", count + turns, side, side])],
        [onnx.numpy_helper.from_array(value, name) for name, value in given.items()],
    )
    return _write(file, graph, None, {"image_size": side, "head": "heatmap", "decode": "soft-argmax", "stances": True})


def _write(file: Path, graph: Any, metadata: Mapping[str, str] | None, changes: Mapping[str, object]) -> Path:
    import onnx

    helper = onnx.helper
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if metadata is None:
        kept = contract(name=file.stem).model_dump(by_alias=True)
        metadata = {METADATA_KEY: json.dumps({**kept, **changes})}
    helper.set_model_props(model, dict(metadata))
    file.write_bytes(model.SerializeToString())
    return file
