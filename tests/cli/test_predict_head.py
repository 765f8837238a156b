"""From a head artefact to results.csv to metrics.json, by the commands that people type."""

import csv
import json
import math

import cv2
import numpy as np
import pytest

from aop_pose.cli import main
from aop_pose.core.letterbox import fit
from aop_pose.geometry import ramanujan_perimeter
from tests.fakes import textured
from tests.tiny_artefact import write_heatmap_artefact

WIDTH, HEIGHT, SIDE = 160, 120, 64
AXES = np.array([(30, 60), (130, 60), (80, 22), (80, 98)], float)
"""OFD 100, BPD 76 pixels, in the frame."""
HEADER = (
    "source,index,width,height,status,reason,OFD1_x,OFD1_y,OFD2_x,OFD2_y,BPD1_x,BPD1_y,BPD2_x,BPD2_y,"
    "score,ofd_px,bpd_px,hc_px,ofd_mm,bpd_mm,hc_mm,hc_ramanujan_mm,model"
)
COLUMNS = next(csv.reader([HEADER]))


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for name in ("1_HC.png", "2_HC.png"):
        cv2.imwrite(str(folder / name), textured(len(name), HEIGHT, WIDTH))
    (folder / "labels.csv").write_text(
        "Filename,ofd_1_x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y,pixel_size_mm,head_circumference_mm\n"
        "1_HC.png,130,60,30,60,80,98,80,22,0.5,140\n2_HC.png,30,60,130,60,80,22,80,98,,\n"
    )
    return folder


def artefact(folder, points=AXES, **changes):
    _, box = fit(np.zeros((HEIGHT, WIDTH), np.uint8), SIDE)
    return write_heatmap_artefact(folder / "head.onnx", box.forward(points), SIDE, **changes)


def predicted(folder, weights, *more):
    out = folder / "out"
    code = main.run(["predict", str(folder / "frames"), "--weights", str(weights), "--out", str(out), *more])
    with open(out / "results.csv", newline="") as stream:
        reader = csv.DictReader(stream)
        return code, list(reader.fieldnames), list(reader)


def test_a_row_holds_points_pixels_and_millimetres_where_the_size_is_known(capsys, tmp_path, frames):
    code, columns, (first, second) = predicted(
        tmp_path, artefact(tmp_path), "--pixel-size", str(frames / "labels.csv"), "--schema", "head"
    )
    assert (code, columns[: len(COLUMNS)]) == (0, COLUMNS)
    points = [float(first[column]) for column in COLUMNS[6:14]]
    assert points == pytest.approx(AXES.ravel(), abs=0.3)
    ofd, bpd = (float(first[name]) for name in ("ofd_px", "bpd_px"))
    assert (ofd, bpd) == pytest.approx((100, 76), abs=0.5)
    assert float(first["hc_px"]) == pytest.approx(math.pi * (ofd + bpd) / 2, abs=1e-3)
    assert float(first["ofd_mm"]) == pytest.approx(ofd / 2, abs=1e-3)
    assert float(first["hc_mm"]) == pytest.approx(math.pi * (ofd + bpd) / 4, abs=1e-3)
    assert float(first["hc_ramanujan_mm"]) == pytest.approx(ramanujan_perimeter(bpd, ofd) / 2, abs=1e-3)
    # No size in the table: pixels stand, millimetres are empty and not 0.
    assert float(second["hc_px"]) > 0
    assert [second[name] for name in ("ofd_mm", "bpd_mm", "hc_mm", "hc_ramanujan_mm")] == [""] * 4
    assert "2 ok" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out" / "overlays").iterdir()) == ["1_HC.png", "2_HC.png"]


def test_results_are_scored_against_the_expert_up_to_swapped_ends(capsys, tmp_path, frames):
    predicted(tmp_path, artefact(tmp_path), "--pixel-size", "0.5")
    command = ["evaluate", str(tmp_path / "out"), str(frames / "labels.csv"), "--out", str(tmp_path / "scores")]
    assert main.run([*command, "--images", str(frames)]) == 0
    figures = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert figures["mre_px"] < 0.4
    # Only the first row has an expert; the size of the second pixel is that of the results.
    assert figures["hc_ramanujan_bias_mm"] == pytest.approx(ramanujan_perimeter(76, 100) / 2 - 140, abs=0.3)
    assert figures["ofd_mae_mm"] < 0.25
    assert "frames without the expert's head circumference, in no figure of it: 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (AXES[[2, 3, 0, 1]], "not the axes of one head: BPD is longer than OFD"),
        (AXES * [1, 0.2] + [0, 40], "not the axes of one head: BPD is 0."),
        (AXES + np.array([(0, 0), (0, 0), (60, 0), (60, 0)]), "not the axes of one head: OFD and BPD do not cross"),
        (AXES - [0, 30], "outside the picture: BPD1; what cannot be seen is not measured"),
    ],
)
def test_points_that_are_no_head_are_an_abstention(tmp_path, frames, points, reason):
    code, _, rows = predicted(tmp_path, artefact(tmp_path, points), "--no-overlay", "--pixel-size", "0.5")
    assert code == 0
    for row in rows:
        assert row["status"] == "abstained"
        assert row["reason"].startswith(reason)
        assert not any(row[name] for name in COLUMNS[15:-1])
        assert row["OFD1_x"]


def test_a_head_that_is_not_seen_and_a_file_that_is_no_picture_have_rows(tmp_path, frames):
    (frames / "3_HC.png").write_bytes(b"no picture")
    code, _, rows = predicted(tmp_path, artefact(tmp_path, threshold=1.0), "--no-overlay")
    assert (code, [row["status"] for row in rows]) == (3, ["abstained", "abstained", "unreadable"])
    assert rows[0]["reason"].startswith("no anatomy found")


def test_an_artefact_of_another_schema_is_refused(capsys, tmp_path, frames):
    command = ["predict", str(frames), "--weights", str(artefact(tmp_path)), "--out", str(tmp_path / "o")]
    code = main.run([*command, "--schema", "aop"])
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert "expected schema aop, found head" in err
    assert not (tmp_path / "o").exists()
