"""An artefact takes the softmax of its turns once: the same bits, and nothing is written where they are not."""

import sys

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx comes with the train extra")

import lighten_artefact
import onnx

from aop_pose.core.stances import STANCES
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference.decode import encode
from aop_pose.inference.predictor import METADATA_KEY, load
from tests.fakes import contract, textured
from tests.tiny_artefact import write_heatmap_artefact

POINTS = np.array([[40.0, 20.0], [20.0, 26.0], [50.0, 50.0]])
SIDE, TURNS = 64, len(STANCES)


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.png"), textured(number, SIDE, SIDE))
    return folder


@pytest.fixture
def before(tmp_path):
    """An artefact as the exporter of before laid it out: the turns are spread, joined, cast, cut out, and weighed."""
    helper, kind = onnx.helper, onnx.TensorProto
    numpy_helper = onnx.numpy_helper
    given = {
        "shown": encode(POINTS, (SIDE, SIDE), 2.0).astype(np.float32)[None],
        "weights": np.linspace(-3, 9, TURNS, dtype=np.float32).reshape(1, TURNS, 1, 1),
        "size": np.array([1, TURNS, SIDE, SIDE]),
        "start": np.array([3]), "end": np.array([3 + TURNS]), "axis": np.array([1]),
    }  # fmt: skip
    nodes = [
        helper.make_node("ReduceMean", ["gray"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "weights"], ["turns"]),
        helper.make_node("Expand", ["turns", "size"], ["spread"]),
        helper.make_node("Concat", ["shown", "spread"], ["joined"], axis=1),
        helper.make_node("Cast", ["joined"], ["cast"], to=kind.FLOAT),
        helper.make_node("Slice", ["cast", "start", "end", "axis"], ["part"]),
        helper.make_node("Softmax", ["part"], ["shares"], axis=1),
        helper.make_node("Constant", [], ["first"], value=numpy_helper.from_array(np.array([0]))),
        helper.make_node("Slice", ["cast", "first", "start", "axis"], ["points"]),
        helper.make_node("Concat", ["points", "shares"], ["maps"], axis=1),
    ]
    graph = helper.make_graph(
        nodes, "old",
        [helper.make_tensor_value_info("gray", kind.FLOAT, ["batch", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("maps", kind.FLOAT, ["batch", 3 + TURNS, SIDE, SIDE])],
        [numpy_helper.from_array(value, name) for name, value in given.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    about = contract(head="heatmap", decode="soft-argmax", stances=True, image_size=SIDE)
    onnx.helper.set_model_props(model, {METADATA_KEY: about.model_dump_json(by_alias=True)})
    onnx.save(model, tmp_path / "before.onnx")
    return tmp_path / "before.onnx"


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lighten_artefact.py", *map(str, arguments)])
    return lighten_artefact.main()


def test_the_softmax_is_taken_once_and_no_bit_changes(monkeypatch, tmp_path, frames, before, capsys):
    out = tmp_path / "now" / "lighter.onnx"
    assert run(monkeypatch, before, "--frames", frames, "--out", out) == 0
    assert capsys.readouterr().out == "the same bits on 4 pictures\n"
    kinds = [node.op_type for node in onnx.load(out).graph.node]
    assert kinds == ["ReduceMean", "Mul", "Softmax", "Expand", "Cast", "Constant", "Slice", "Concat"]
    assert load(out).contract == load(before).contract
    shown = np.random.default_rng(0).random((1, 1, SIDE, SIDE), np.float32)
    np.testing.assert_array_equal(load(out).network(shown), load(before).network(shown))
    # What is light already is not made lighter.
    assert run(monkeypatch, out, "--frames", frames, "--out", tmp_path / "again.onnx") == UsageError.exit_code
    assert not (tmp_path / "again.onnx").exists()


def test_a_network_without_turns_is_one_line(monkeypatch, tmp_path, frames, capsys):
    plain = write_heatmap_artefact(tmp_path / "plain.onnx", POINTS)
    assert run(monkeypatch, plain, "--frames", frames, "--out", tmp_path / "out.onnx") == UsageError.exit_code
    assert "takes the softmax of its turns at each place, found none" in capsys.readouterr().err


def test_other_bits_are_not_written(monkeypatch, tmp_path, frames, before, capsys):
    def wrong(graph):
        (weights,) = [one for one in graph.initializer if one.name == "weights"]
        weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) * 1.001, "weights"))

    monkeypatch.setattr(lighten_artefact, "lighten", wrong)
    assert run(monkeypatch, before, "--frames", frames, "--out", tmp_path / "out.onnx") == AopPoseError.exit_code
    assert "0.png: the lighter network answers otherwise" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["before.onnx", "frames"]
