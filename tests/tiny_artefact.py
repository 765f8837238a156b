"""The smallest artefact: a network that gives its input back as candidates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from aop_pose.runtime import METADATA_KEY
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
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if metadata is None:
        kept = contract(name=file.stem, image_size=SIZE).model_dump(by_alias=True)
        metadata = {METADATA_KEY: json.dumps({**kept, **changes})}
    helper.set_model_props(model, dict(metadata))
    file.write_bytes(model.SerializeToString())
    return file
