"""Results and a truth file in, figures out; every way in which the two do not fit is one line."""

import csv
import json

import pytest

from aop_pose.cli import main

HEADER = (
    "source,index,width,height,status,reason,PS1_x,PS1_y,PS2_x,PS2_y,FH1_x,FH1_y,"
    "score,aop_deg,aop_low,aop_high,hsd_px,hsd_mm,model"
)
ROWS = [
    "a.png,0,300,400,ok,,103.0,104.0,3.0,104.0,103.0,204.0,0.9,90.0,,,,,m@1",
    "b.png,0,300,400,abstained,no anatomy found,,,,,,,0.01,,,,,,m@1",
]
TRUTH = 'Filename,PS1,PS2,FH1,AoP\na.png,"(100, 100)","(0, 100)","(100, 200)",90.0\nb.png,"(1, 2)","(3, 4)","(5, 9)",\n'


@pytest.fixture
def files(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    (results / "results.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    (tmp_path / "truth.csv").write_text(TRUTH)
    return tmp_path


def run(capsys, folder, *more, results="results", truth="truth.csv"):
    code = main.run(["evaluate", str(folder / results), str(folder / truth), "--out", str(folder / "out"), *more])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("results", ["results", "results/results.csv"])
def test_a_folder_or_its_table_gives_the_figures(capsys, files, results):
    code, out, err = run(capsys, files, results=results)
    figures = json.loads((files / "out" / "metrics.json").read_text())
    assert (code, err) == (0, "")
    assert (figures["mre_px"], figures["n"], figures["n_missing"], figures["scale"]) == (5, 2, 1, "original")
    assert figures["mre_px_with_missing"] == 252.5
    with open(files / "out" / "per_frame.csv", newline="") as stream:
        assert [row["status"] for row in csv.DictReader(stream)] == ["ok", "abstained"]
    assert "5.00 px" in out
    assert "research use" in out


def test_scale_is_written_down_and_applied(capsys, files):
    assert run(capsys, files, "--scale", "512")[0] == 0
    figures = json.loads((files / "out" / "metrics.json").read_text())
    assert (figures["mre_px"], figures["scale"]) == (pytest.approx(5 * 512 / 400), 512)


def test_doubts_are_said_on_stderr(capsys, files):
    (files / "truth.csv").write_text(TRUTH.replace("90.0", "120.0") + 'c.png,"(1, 2)","(3, 4)","(5, 9)",\n')
    code, _, err = run(capsys, files)
    assert code == 0
    assert "aop-pose: note: true frames without a row, counted as missing: 1\n" in err
    assert "truth: AoP is more than 0.1°" in err


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (
            TRUTH.replace("a.png", "x.png").replace("b.png", "y.png"),
            "results have a.png, b.png; truth has x.png, y.png",
        ),
        (TRUTH.replace("b.png", "a.png"), "twice or more (a.png)"),
        (TRUTH.replace('"(3, 4)"', "34"), "truth.csv:3: PS2: expected a point (x, y), found '34'"),
        (TRUTH.replace("90.0", "right"), "truth.csv:2: AoP: expected a number, found 'right'"),
        ("Filename,PS1,PS2,FH1\n", "at least one frame"),
        ("name,x,y\n", "missing Filename,PS1,PS2,FH1"),
    ],
)
def test_a_truth_that_does_not_fit_writes_nothing(capsys, files, truth, message):
    (files / "truth.csv").write_text(truth)
    code, out, err = run(capsys, files)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (files / "out").exists()


@pytest.mark.parametrize(("results", "truth"), [("nowhere", "truth.csv"), ("results", "nowhere.csv")])
def test_a_file_that_is_not_there_is_one_line(capsys, files, results, truth):
    code, _, err = run(capsys, files, results=results, truth=truth)
    assert (code, err.count("\n")) == (2, 1)
    assert "nowhere" in err


def test_a_table_of_other_people_needs_only_names_and_points(capsys, files):
    (files / "theirs.csv").write_text(
        "source,note,PS1_x,PS1_y,PS2_x,PS2_y,FH1_x,FH1_y\na.png,x,100,100,0,100,100,200\n\nb.png,y,1,2,3,4,,9\n"
    )
    code, _, err = run(capsys, files, results="theirs.csv")
    figures = json.loads((files / "out" / "metrics.json").read_text())
    assert (code, err) == (0, "")
    assert (figures["mre_px"], figures["n_missing"]) == (0, 1)
    # No size is known, so nothing can be said of the diagonal; the angle needs none.
    assert figures["mre_px_with_missing"] is None
    assert figures["aop_mae_deg_with_missing"] == 90


def test_head_results_are_scored_up_to_the_order_of_the_ends(capsys, files):
    (files / "head.csv").write_text(
        "source,index,width,height,status,OFD1_x,OFD1_y,OFD2_x,OFD2_y,BPD1_x,BPD1_y,BPD2_x,BPD2_y\n"
        "a.png,0,300,400,ok,110,50,0,50,50,10,50,90\n"
    )
    (files / "truth.csv").write_text(
        "Filename,ofd_1_x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y\na.png,0,50,100,50,50,10,50,90\n"
    )
    assert run(capsys, files, results="head.csv")[::2] == (0, "")
    figures = json.loads((files / "out" / "metrics.json").read_text())
    assert (figures["mre_px"], figures["mre_px_ofd2"], figures["ofd_bias_px"], figures["bpd_mae_px"]) == (
        2.5,
        10,
        10,
        0,
    )


def test_another_table_in_place_of_the_results_is_one_line(capsys, files):
    code, _, err = run(capsys, files, results="truth.csv")
    assert (code, err.count("\n")) == (2, 1)
    assert "expected" in err


def test_scale_without_picture_sizes_is_refused(capsys, files):
    table = files / "results" / "results.csv"
    table.write_text(table.read_text().replace(",300,400,", ",,,"))
    code, _, err = run(capsys, files, "--scale", "512")
    assert (code, err.count("\n")) == (2, 1)
    assert "--scale" in err
