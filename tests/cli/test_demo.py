"""``demo``: it replaces what an earlier demo wrote, and nothing else."""

import json

import pytest

from aop_pose.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "aop-demo"
    assert main.run(["demo", "--out", str(out)]) == 0
    return out


def test_a_demo_replaces_an_earlier_one_also_of_another_installation(folder, capsys):
    document = (folder / "results.json").read_text().splitlines()
    facts = json.loads(document[0].rstrip(",") + "}")["run"]
    facts["sources"] = ["elsewhere/_shipped/phantom/images"]
    (folder / "results.json").write_text("\n".join([json.dumps({"run": facts})[:-1] + ",", *document[1:]]))
    assert main.run(["demo", "--out", str(folder)]) == 0
    assert (folder / "contact_sheet.png").is_file()
    assert "elsewhere" not in (folder / "results.json").read_text()


@pytest.mark.parametrize("name", ["thesis.tex", "results.csv", "results.json"])
def test_another_folder_is_refused_and_left_as_it_is(tmp_path, capsys, name):
    (tmp_path / name).write_text('{"run": {"sources": ["mine"]},\n')
    assert main.run(["demo", "--out", str(tmp_path)]) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_results_name_the_artefact_the_versions_and_the_calibration(folder):
    facts = json.loads((folder / "results.json").read_text())["run"]
    assert len(facts["artefact_sha256"]) == 64
    assert facts["model"].endswith(facts["artefact_sha256"][:8])
    for package in ("aop_pose", "python", "onnxruntime", "numpy", "opencv"):
        assert facts[package]
    assert facts["calibration"] == "none" or isinstance(facts["calibration"], dict)


def test_no_angle_loses_a_digit_on_a_narrow_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert main.run(["demo", "--out", str(tmp_path / "demo")]) == 0
    table = capsys.readouterr().out.partition("Made-up frames")[2]
    assert table
    assert "…" not in table
