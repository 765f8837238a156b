"""Several heatmap artefacts in one: the mean of their maps, and what cannot be merged."""

import sys

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx comes with the train extra")

import merge_artefacts

from aop_pose.inference import predictor as runtime
from tests.fakes import textured
from tests.tiny_artefact import write_artefact, write_heatmap_artefact

POINTS = np.array([[40.0, 20.0], [20.0, 26.0], [50.0, 50.0]])


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.png"), textured(number, 64, 64))
    return folder


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["merge_artefacts.py", *map(str, arguments)])
    return merge_artefacts.main()


def test_the_merged_maps_are_the_mean_of_the_members(monkeypatch, tmp_path, frames, capsys):
    moved = [POINTS, np.add(POINTS, (4.0, 0.0)), np.add(POINTS, (2.0, 6.0))]
    members = [
        write_heatmap_artefact(tmp_path / f"m{number}.onnx", points, decode="soft-argmax")
        for number, points in enumerate(moved)
    ]
    out = tmp_path / "all.onnx"
    assert run(monkeypatch, *members, "--out", out, "--frames", frames) == 0
    merged = runtime.load(out)
    picture = [textured(5, 64, 64)] * 3
    mean = np.mean([runtime.load(member).raw_outputs(picture)[0].output for member in members], axis=0)
    for answer in merged.raw_outputs(picture):
        np.testing.assert_allclose(answer.output, mean, atol=1e-3)
    np.testing.assert_allclose(merged.find(picture)[0].keypoints.coords, np.add(POINTS, (2.0, 2.0)), atol=0.05)
    assert merged.contract.name == "all"
    assert len(merged.contract.training_run["members"]) == 3
    assert "16 bits move a point by 0.0" in capsys.readouterr().out


def test_outlines_are_those_of_the_first_member_and_points_of_all(monkeypatch, tmp_path, frames, capsys):
    shown = np.stack([np.full((64, 64), 0.25), np.full((64, 64), 0.75)])
    first = write_heatmap_artefact(
        tmp_path / "a.onnx", POINTS, further=shown, outlines=["PS", "FH"], decode="soft-argmax"
    )
    second = write_heatmap_artefact(tmp_path / "b.onnx", np.add(POINTS, (4.0, 0.0)), decode="soft-argmax")
    out = tmp_path / "all.onnx"
    assert run(monkeypatch, first, second, "--out", out, "--frames", frames) == 0
    merged = runtime.load(out)
    assert merged.contract.outlines == ("PS", "FH")
    (answer,) = merged.raw_outputs([textured(5, 64, 64)])
    np.testing.assert_allclose(answer.output[3:], shown, atol=1e-3)
    np.testing.assert_allclose(merged.read(answer).keypoints.coords, np.add(POINTS, (2.0, 0.0)), atol=0.05)
    assert run(monkeypatch, second, first, "--out", out, "--frames", frames) == 2
    assert "expected the member with most maps first" in capsys.readouterr().err


def test_sixteen_bits_halve_the_file(monkeypatch, tmp_path, frames):
    member = write_heatmap_artefact(tmp_path / "m.onnx", POINTS)
    out = tmp_path / "short.onnx"
    assert run(monkeypatch, member, "--out", out, "--frames", frames) == 0
    assert out.stat().st_size < 0.6 * member.stat().st_size


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda file: write_heatmap_artefact(file, POINTS, decode="argmax"), "expected decode subpixel"),
        (lambda file: write_heatmap_artefact(file, POINTS / 2, side=32), "expected image_size 64"),
        (lambda file: write_artefact(file), "expected the head heatmap, found pose"),
    ],
)
def test_members_that_promise_otherwise_are_refused(monkeypatch, tmp_path, frames, capsys, other, words):
    member, out = write_heatmap_artefact(tmp_path / "m.onnx", POINTS), tmp_path / "all.onnx"
    assert run(monkeypatch, member, other(tmp_path / "o.onnx"), "--out", out, "--frames", frames) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("outlined", [{}, {"further": np.full((2, 64, 64), 0.25), "outlines": ["PS", "FH"]}])
def test_a_network_of_a_merged_artefact_is_taken_out_of_it(monkeypatch, tmp_path, frames, capsys, outlined):
    first = write_heatmap_artefact(tmp_path / "a.onnx", POINTS, decode="soft-argmax", **outlined)
    second = write_heatmap_artefact(tmp_path / "b.onnx", np.add(POINTS, (4.0, 0.0)), decode="soft-argmax")
    merged, out = tmp_path / "all.onnx", tmp_path / "one.onnx"
    assert run(monkeypatch, first, second, "--out", merged, "--frames", frames) == 0
    assert run(monkeypatch, f"{merged}:1", "--out", out, "--frames", frames) == 0
    picture = [textured(5, 64, 64)]
    answers = [runtime.load(file).raw_outputs(picture)[0].output for file in (second, out)]
    np.testing.assert_allclose(*answers, atol=1e-3)
    assert runtime.load(out).contract.outlines == ()
    assert run(monkeypatch, f"{merged}:2", "--out", out, "--frames", frames) == 2
    assert "expected one of the 2 networks" in capsys.readouterr().err


def test_outlines_that_all_members_have_are_the_mean(monkeypatch, tmp_path, frames):
    shown = [np.full((2, 64, 64), 0.25), np.full((2, 64, 64), 0.75)]
    members = [
        write_heatmap_artefact(
            tmp_path / f"{number}.onnx", POINTS, further=further, outlines=["PS", "FH"], decode="soft-argmax"
        )
        for number, further in enumerate(shown)
    ]
    out = tmp_path / "all.onnx"
    assert run(monkeypatch, *members, "--out", out, "--frames", frames) == 0
    np.testing.assert_allclose(runtime.load(out).raw_outputs([textured(5, 64, 64)])[0].output[3:], 0.5, atol=1e-3)
