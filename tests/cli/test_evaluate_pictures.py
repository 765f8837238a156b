"""Results evaluated beside their pictures: the page's worst frames, groups of near-duplicates, equal bytes."""

import ast
import csv
import json

import numpy as np
import pytest

from aop_pose.cli import main
from aop_pose.core.results import columns
from aop_pose.core.schemas import AOP
from aop_pose.geometry import angle_of_progression
from aop_pose.phantom.write import write_phantoms


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Thirty phantoms and results that are their labels with noise."""
    folder = write_phantoms(tmp_path_factory.mktemp("phantoms") / "data", 30, seed=1, size=128)
    rng = np.random.default_rng(0)
    with open(folder / "labels.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    # Columns behind the model may be left out.
    lines = [",".join(columns(AOP)[: columns(AOP).index("model") + 1])]
    for row in rows:
        points = np.array([ast.literal_eval(row[point]) for point in ("PS1", "PS2", "FH1")])
        noisy = points + rng.normal(0, 1, (3, 2))
        angle = angle_of_progression(*noisy)
        cells = [row["Filename"], "0", "128", "128", "ok", "", *(f"{value:.4f}" for value in noisy.ravel()), "0.9"]
        lines.append(",".join([*cells, f"{angle:.4f}", f"{angle - 9:.4f}", f"{angle + 9:.4f}", "", "", "m@1"]))
    (folder / "results.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_with_pictures_the_page_shows_the_worst_and_groups_are_near_duplicates(capsys, phantoms, tmp_path):
    command = ["evaluate", str(phantoms), str(phantoms / "labels.csv"), "--out", str(tmp_path), "--scale", "512"]
    assert main.run([*command, "--images", str(phantoms)]) == 0
    assert capsys.readouterr().err == ""
    figures = json.loads((tmp_path / "metrics.json").read_text())
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count("data:image/jpeg;base64,") == 12
    assert figures["groups"] == "pictures that are nearly the same"
    low, high = figures["aop_mae_deg_ci"]
    assert low < figures["aop_mae_deg"] < high
    assert {entry["by"] for entry in figures["subsets"]} == {"device", "AoP (reference)", "contrast"}
    assert 0 <= figures["aop_interval_coverage"] <= 1
    with open(tmp_path / "per_frame.csv", newline="") as stream:
        assert all(float(row["contrast"]) > 0 and row["group"].isdigit() for row in csv.DictReader(stream))


def test_the_same_command_gives_the_same_bytes(capsys, phantoms, tmp_path):
    for out in ("a", "b"):
        assert main.run(["evaluate", str(phantoms), str(phantoms / "labels.csv"), "--out", str(tmp_path / out)]) == 0
    for name in ("metrics.json", "per_frame.csv", "report.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",128,128,", ",256,256,"), "0000.png is 256x256 by the results, 128x128 by the"),
        (lambda text: text.replace("0003.png", "0002.png"), "found several for 0002.png"),
    ],
)
def test_what_cannot_be_compared_writes_nothing(capsys, phantoms, tmp_path, change, message):
    (tmp_path / "r.csv").write_text(change((phantoms / "results.csv").read_text()))
    truth, out = str(phantoms / "labels.csv"), str(tmp_path / "out")
    code = main.run(["evaluate", str(tmp_path / "r.csv"), truth, "--out", out, "--images", str(phantoms)])
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert not (tmp_path / "out").exists()


def test_real_frames_with_made_up_noise(capsys, shared_data, tmp_path):
    """A reader who is 10 pixels high on FH1 alone, on the frames of PSFHS."""
    data = shared_data / "psfhs"
    with open(data / "val.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        x, y = ast.literal_eval(row["FH1"])
        row["FH1"], row["AoP"] = f"({x}, {y - 10})", ""
    with open(tmp_path / "reader.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    out = tmp_path / "out"
    command = [
        "evaluate",
        str(tmp_path / "reader.csv"),
        str(data / "val.csv"),
        "--out",
        str(out),
        "--images",
        str(data),
    ]
    assert main.run([*command, "--scale", "512"]) == 0
    figures = json.loads((out / "metrics.json").read_text())
    assert (figures["n"], figures["n_groups"], figures["mre_px_fh1"]) == (132, 78, 20)
    assert figures["mre_px_ps1"] == 0
    assert figures["aop_icc_2_1"] < figures["aop_icc_3_1"]
