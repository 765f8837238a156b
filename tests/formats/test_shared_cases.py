"""The inputs of ``../shared/cases`` that go wrong, each with its right outcome; skipped where they are absent."""

import json
import re
from pathlib import Path

import pytest

from aop_pose.cli.main import main

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


@pytest.fixture(scope="module")
def cases():
    """The folder of inputs."""
    if not CASES.is_dir():
        pytest.skip("../shared/cases is not here")
    return CASES


def run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), " ".join((err + out).split())


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("visibility_0", 0, "5 frames in .*, 1 left out"),
        ("pixels", 2, "are they pixels"),
        ("appledouble", 0, "6 frames in .*, 0 left out"),
        ("list_txt", 0, "6 frames in .*, 0 left out"),
        ("val_null", 0, "no val is named: all frames are read as train .* 4 frames"),
        ("path_null", 0, "6 frames in .*, 0 left out"),
        ("roboflow", 0, "6 frames in .*, 0 left out"),
        ("cvat_no_val", 0, "no val is named: all frames are read as train .* 6 frames"),
        ("background_frame", 0, "left out train/03754.png: .*background .* 4 frames"),
        ("two_objects", 0, "left out train/03754.png: expected one line, found 2 objects .* 5 frames"),
    ],
)
def test_yolo_folders(cases, capsys, tmp_path, name, code, said):
    found, text = run(capsys, "dataset", "convert", cases / "yolo" / name, tmp_path / "out", "--to", "iugc")
    assert found == code
    assert re.search(said, text)
    table = tmp_path / "out" / "labels.csv"
    assert table.is_file() == (code == 0)
    assert code or "nan" not in table.read_text()


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("c01-semicolon", 0, "4 frames .* 0 left out"),
        ("c03-tab", 0, "4 frames .* 0 left out"),
        ("c05-brackets", 0, "4 frames .* 0 left out"),
        ("e11-space-after-comma", 0, "4 frames .* 0 left out"),
        ("c12b-minus1-zero", 0, "nobody marked FH1 .* 2 frames .* 2 left out"),
        ("c14-rowcol-swap", 2, "are rows and columns swapped"),
        ("c15-512-labels", 2, "points outside; are they of another picture size"),
        ("c19-ext-differs", 2, r"there is 03754\.png \(with another ending\)"),
    ],
)
@pytest.mark.parametrize("to", ["iugc", "yolo-pose"])
def test_label_files(cases, capsys, tmp_path, shared_data, name, code, said, to):
    file = cases / "labels" / f"{name}.csv"
    found, text = run(capsys, "dataset", "convert", file, tmp_path / "out", "--to", to, "--data", shared_data / "psfhs")
    assert found == code
    assert re.search(said, text)
    found, _ = run(capsys, "dataset", "check", file, "--data", shared_data / "psfhs")
    assert found == (0 if said.startswith("4 frames") else 1)


def test_a_wrong_angle_in_a_column_of_other_letters(cases, capsys, shared_data):
    found, text = run(
        capsys, "dataset", "check", cases / "labels" / "c07-AOP-header.csv", "--data", shared_data / "psfhs"
    )
    assert found == 1
    assert "4 rows, 4 findings" in text


@pytest.mark.parametrize("name", ["minus_one", "zero"])
def test_results_without_a_find(cases, capsys, tmp_path, name):
    folder = cases / "results"
    code, _ = run(capsys, "evaluate", folder / f"{name}.csv", folder / "labels.csv", "--out", tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (code, metrics["n"], metrics["n_missing"]) == (0, 4, 1)
    assert metrics["aop_mae_deg_with_missing"] == pytest.approx(45)
