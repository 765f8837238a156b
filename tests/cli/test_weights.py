"""``weights list``, ``weights verify`` and ``info`` over a made-up shelf."""

import hashlib
import json

import pytest

from aop_pose.cli import main
from aop_pose.inference import weights as artefacts
from aop_pose.pipelines import PIPELINES


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    entries = []
    for name, default in (("aop-fast", "aop"), ("aop-best", None)):
        (folder / f"{name}.onnx").write_bytes(name.encode())
        entries.append(
            artefacts.Artefact(
                name=name,
                file=f"{name}.onnx",
                sha256=hashlib.sha256(name.encode()).hexdigest(),
                bytes=len(name),
                schema="aop",
                licence="AGPL-3.0-or-later",
                training_run=f"{name}.run.json",
                default_for=default,
            )
        )
    artefacts.write_manifest(entries, folder)
    monkeypatch.setattr(artefacts, "_PACKAGE", tmp_path / "aop_pose")
    monkeypatch.setenv("COLUMNS", "200")
    return folder


def test_list_shows_every_artefact(capsys, shelf):
    assert main.run(["weights", "list"]) == 0
    out = capsys.readouterr().out
    for entry in artefacts.manifest(shelf):
        for value in (entry.name, entry.sha256[:8], entry.licence):
            assert value in out
    assert out.count("aop (default)") == 1


def test_list_fits_a_narrow_terminal(capsys, shelf, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main.run(["weights", "list"]) == 0
    assert "AGPL-3.0-or-later" in capsys.readouterr().out


def test_no_name_is_cut_on_a_telephone(capsys, shelf, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert main.run(["weights", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for entry in artefacts.manifest(shelf):
        assert entry.name in lines
        assert f"  licence: {entry.licence}" in lines
    assert max(len(line) for line in lines[:-1]) <= 40


def test_verify_finds_changed_bytes(capsys, shelf):
    assert main.run(["weights", "verify"]) == 0
    assert capsys.readouterr().out == "aop-fast: ok\naop-best: ok\n"
    (shelf / "aop-best.onnx").write_bytes(b"x")
    assert main.run(["weights", "verify"]) == 1
    out = capsys.readouterr().out
    assert "aop-fast: ok\n" in out
    assert "aop-best: expected sha256" in out


def test_info_says_the_same_as_json_and_as_text(capsys, shelf):
    assert main.run(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["devices"][0] == "cpu"
    assert {"torch", "ultralytics"} <= set(facts["training"])
    assert list(facts["pipelines"]) == list(PIPELINES)
    assert "fast" in facts["pipelines"]["yolo"]["presets"]
    assert "research use" in facts["use"]
    assert [artefact["name"] for artefact in facts["artefacts"]] == ["aop-fast", "aop-best"]
    assert facts["artefacts"][0]["card"] == str(shelf / "aop-fast.md")
    assert main.run(["info"]) == 0
    out = capsys.readouterr().out
    for value in (facts["aop_pose"], facts["numpy"], facts["use"], facts["artefacts"][1]["model_id"], *PIPELINES):
        assert value in out


def test_info_names_an_artefact_whose_bytes_changed(capsys, shelf):
    (shelf / "aop-best.onnx").write_bytes(b"x")
    assert main.run(["info"]) == 0
    assert capsys.readouterr().out.count("problem: expected sha256") == 1


def test_info_of_a_broken_installation_says_what_is_broken(capsys, shelf):
    (shelf / "manifest.json").write_text("{")
    assert main.run(["info"]) == 0
    assert "manifest.json: the file: Invalid JSON" in capsys.readouterr().out
