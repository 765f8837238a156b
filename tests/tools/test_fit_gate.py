"""From a tiny data set to a gated artefact and its table; which frames are refused."""

import csv
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.inference.predictor import load
from tests.fakes import textured
from tests.tiny_artefact import write_artefact, write_heatmap_artefact

SimpleITK = pytest.importorskip("SimpleITK", reason="SimpleITK comes with the train extra")
import fit_gate  # noqa: E402
import gate_pictures  # noqa: E402

TRIANGLE = np.array([(40, 20), (15, 25), (45, 50)], float)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """HC18 with six patients of one frame each, and one MRI volume."""
    folder = tmp_path_factory.mktemp("others")
    for place in ("hc18/images", "mri/volumes"):
        (folder / place).mkdir(parents=True)
    for number in range(6):
        cv2.imwrite(str(folder / "hc18/images" / f"{number:03}_HC.png"), textured(number))
    volume = np.stack([textured(number, 40, 40) for number in range(40)]).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(volume), str(folder / "mri/volumes/a.mha"))
    return folder


def run(monkeypatch, capsys, data, others, artefact, *more, fits=True):
    monkeypatch.setattr(gate_pictures, "MADE_UP", 5)
    out = artefact.with_name("gated.onnx")
    given = [
        "--data",
        data,
        "--hc18",
        others / "hc18",
        "--mri",
        others / "mri",
        *(["--out", out] if fits else []),
        *more,
    ]
    monkeypatch.setattr(sys, "argv", ["fit_gate", str(artefact), *map(str, given)])
    code = fit_gate.main()
    return code, *capsys.readouterr(), out


def test_the_artefact_has_a_gate_and_every_kind_a_row(monkeypatch, capsys, rehearsal, others, tmp_path):
    artefact = write_heatmap_artefact(tmp_path / "a.onnx", TRIANGLE)
    wrong = tmp_path / "wrong"
    code, said, _, out = run(monkeypatch, capsys, rehearsal, others, artefact, "--wrong", wrong)
    assert code == 0
    rows = {cells[0]: cells[1:] for line in said.splitlines() if line[0:2] == "| " and (cells := line[2:].split(" | "))}
    assert rows["frames"][0] == "4"
    assert [rows[kind][0] for kind in ("mirrored", "symphysis painted out", "head plane (HC18)")] == ["4", "4", "3"]
    # A network that does not tell how a frame stands turns none back.
    assert rows["turned by quarters"][2] == "0"
    assert (rows["MRI slices"][0], rows["phantoms without anatomy"][0], rows["noise"][0]) == ("9", "5", "5")
    assert rows["**all unseen kinds**"][0] == "14"
    assert "AURC of the angle error" in said
    gate = load(out).contract.gate
    # Of what the fit saw; frames and five kinds of them, the other half of HC18, and what is made up.
    assert gate.fitted["pictures"] == {
        "frames": 8, "frames with marks, looks and cuts": 8, "mirrored": 8, "turned by quarters": 8,
        "symphysis painted out": 8, "head painted out": 8, "sector cut": 8, "head plane (HC18)": 3,
        "noise": 5, "everyday pictures": 5,
    }  # fmt: skip
    assert load(artefact).contract.gate is None
    listed = (wrong / "list.txt").read_text().splitlines()
    assert len(listed) == len(list(wrong.glob("*.png")))
    # The gate that is there, checked again: the same table, and nothing is fitted.
    code, again, _, _ = run(monkeypatch, capsys, rehearsal, others, out, fits=False)
    assert (code, again) == (0, said[said.index("| pictures") :])
    code, _, refused, _ = run(monkeypatch, capsys, rehearsal, others, artefact, fits=False)
    assert (code, "has no gate that could be checked" in refused) == (2, True)


def test_the_risk_may_follow_its_rule(monkeypatch, tmp_path):
    marked = "frames with marks, looks and cuts"
    through = {
        0.003: {"frames": 1.0, marked: 0.99, "head painted out": 0.006, "noise": 0.0},
        0.0025: {"frames": 1.0, marked: 0.98, "head painted out": 0.0, "noise": 0.011},
        0.002: {"frames": 0.98, marked: 0.97, "head painted out": 0.005, "noise": 0.01},
        0.0015: {"frames": 0.97, marked: 0.9, "head painted out": 0.0, "noise": 0.0},
        0.001: {"frames": 0.96, marked: 0.9, "head painted out": 0.0, "noise": 0.0},
    }
    gates = {risk: SimpleNamespace(risk=risk, fitted={"let_through": shares}) for risk, shares in through.items()}
    monkeypatch.setattr(fit_gate, "fit_gate", lambda samples, asked, risk: gates[risk])
    predictor = load(write_heatmap_artefact(tmp_path / "a.onnx", TRIANGLE))

    def chosen(*risks):
        monkeypatch.setattr(fit_gate, "RISKS", risks)
        return fit_gate.fit(predictor, [], None).risk

    # The first two let too many through, the last measures too few; none measures plenty.
    assert chosen(*through) == 0.002
    # Two measure plenty: the one that withholds more.
    through[0.002]["frames"], through[0.0015][marked], through[0.0015]["frames"] = 0.99, 0.95, 0.99
    assert chosen(*through) == 0.0015
    with pytest.raises(UsageError, match=r"none of 0.003, 0.001 keeps"):
        chosen(0.003, 0.001)


def test_frames_to_check_on_must_not_be_learned(monkeypatch, capsys, rehearsal, others, tmp_path):
    with open(rehearsal / "val.csv", newline="") as stream:
        names = [row["Filename"] for row in csv.DictReader(stream)]
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n")
    artefact = write_heatmap_artefact(tmp_path / "a.onnx", TRIANGLE)
    code, _, said, out = run(
        monkeypatch, capsys, rehearsal, others, artefact, "--frames", tmp_path / "list.txt"
    )  # fmt: skip
    assert code == 2
    assert f"found {min(names)} in both" in said
    assert not out.exists()


def test_another_schema_is_refused(monkeypatch, capsys, rehearsal, others, tmp_path):
    head = write_heatmap_artefact(tmp_path / "h.onnx", np.array([(8, 30), (56, 30), (32, 14), (32, 46)], float))
    code, _, said, out = run(monkeypatch, capsys, rehearsal, others, head)
    assert (code, out.exists()) == (2, False)
    assert "expected an artefact of schema aop, found head" in said


def test_a_network_that_finds_nothing_is_refused(monkeypatch, capsys, rehearsal, others, tmp_path):
    blind = write_artefact(tmp_path / "b.onnx", threshold=1.0)
    code, _, said, out = run(monkeypatch, capsys, rehearsal, others, blind)
    assert (code, out.exists()) == (2, False)
    assert "found points on 0 of 8 frames" in said
