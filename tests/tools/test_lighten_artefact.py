"""An artefact takes the softmax of its turns once: the same bits, and nothing is written where they are not."""

import sys

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx comes with the train extra")

import lighten_artefact
import onnx

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference.predictor import load
from tests.fakes import textured
from tests.tiny_artefact import write_heatmap_artefact, write_heavy_artefact

POINTS = np.array([[40.0, 20.0], [20.0, 26.0], [50.0, 50.0]])
SIDE = 64


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.png"), textured(number, SIDE, SIDE))
    return folder


@pytest.fixture
def before(tmp_path):
    return write_heavy_artefact(tmp_path / "before.onnx", POINTS)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lighten_artefact.py", *map(str, arguments)])
    return lighten_artefact.main()


def test_the_softmax_is_taken_once_and_no_bit_changes(monkeypatch, tmp_path, frames, before, capsys):
    out = tmp_path / "now" / "lighter.onnx"
    assert run(monkeypatch, before, "--frames", frames, "--out", out) == 0
    assert capsys.readouterr().out == "the same bits on 4 pictures\n"
    kinds = [node.op_type for node in onnx.load(out).graph.node]
    assert kinds == [
        "ReduceMean",
        "Flatten",
        "Gemm",
        "Unsqueeze",
        "Softmax",
        "Expand",
        "Cast",
        "Constant",
        "Slice",
        "Concat",
    ]
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
