"""Results and a truth file in, figures out; every way in which the two do not fit is one line."""

import csv
import json
import subprocess
import sys

import numpy as np
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
        (TRUTH + TRUTH.splitlines()[1] + "\n", "found the same row of a.png twice"),
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


HEAD_TABLE = "source,index,width,height,status,OFD1_x,OFD1_y,OFD2_x,OFD2_y,BPD1_x,BPD1_y,BPD2_x,BPD2_y,hc_px,hc_mm\n"
HEAD_LABELS = (
    "Filename,ofd_1_x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y,pixel_size_mm,head_circumference_mm\n"
)


def test_heads_are_scored_in_millimetres_by_patient(capsys, files):
    names = [f"{number:03}_{scan}HC.png" for number in range(24) for scan in ("", "2")]
    points = "0,50,100,50,50,10,50,90"
    (files / "head.csv").write_text(HEAD_TABLE + "".join(f"{name},0,300,400,ok,{points},283,56.6\n" for name in names))
    (files / "truth.csv").write_text(HEAD_LABELS + "".join(f"{name},{points},0.1,28.0\n" for name in names))
    code, out, err = run(capsys, files, "--group-regex", r"^(\d+)_", results="head.csv")
    figures = json.loads((files / "out" / "metrics.json").read_text())
    assert (code, figures["n_groups"], figures["ofd_mae_mm"]) == (0, 24, 0)
    assert figures["groups"] == r"frames of one patient, by name (^(\d+)_)"
    assert figures["hc_bias_mm"] == pytest.approx(9 * np.pi - 28, abs=1e-6)
    assert figures["hc_ramanujan_mm_under_2_5_percent"] == 1
    assert figures["hc_mae_mm_ci"] is None
    assert "fewer than 30 groups (24)" in figures["hc_mae_mm_ci_withheld"]
    assert "all values are equal but for the rounding of tables" in figures["hc_bias_mm_ci_withheld"]
    assert "HC (Ramanujan) mean abs. error" in out
    # The table's millimetres are of 0.2 mm a pixel, those of the truth of 0.1.
    assert "results: millimetres are of another pixel size" in err
    with open(files / "out" / "per_frame.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["group"] for row in rows[:4]] == ["0", "0", "1", "1"]
    assert rows[0]["hc_true_mm"] == "28.0000"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--group-regex", "x(y)"), "--group-regex: 'x(y)' does not match 'a.png'"),
        (("--group-regex", "^a"), "--group-regex: expected a bracket around the patient"),
        (("--group-regex", "(", "--group", "auto"), "--group-regex: expected a regular expression"),
        (("--group-regex", "^(.)", "--group", "patient"), "expected one of --group and --group-regex"),
    ],
)
def test_a_patient_that_no_name_tells_writes_nothing(capsys, files, options, message):
    code, out, err = run(capsys, files, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (files / "out").exists()


def test_a_table_that_is_neither_results_nor_labels_is_one_line(capsys, files):
    (files / "other.csv").write_text("source,aop\na.png,90\n")
    code, _, err = run(capsys, files, results="other.csv")
    assert (code, err.count("\n")) == (2, 1)
    assert "expected rows with the columns source and PS1_x" in err


def test_two_readers_are_compared_from_label_files(capsys, files):
    (files / "second.csv").write_text(TRUTH.replace('"(100, 200)",90.0', '"(100, 190)",'))
    code, _, err = run(capsys, files, results="second.csv")
    assert (code, err.count("\n")) == (0, 1)
    assert "Every error of AoP is 0" in err
    figures = json.loads((files / "out" / "metrics.json").read_text())
    assert (figures["mre_px_fh1"], figures["n"], figures["n_missing"]) == (5, 2, 0)


def test_two_methods_are_compared_from_results_tables(capsys, files):
    other = files / "results2"
    other.mkdir()
    (other / "results.csv").write_text("\n".join([HEADER, ROWS[0].replace("103.0,204.0", "103.0,214.0")]) + "\n")
    assert run(capsys, files, truth="results2")[0] == 0
    assert "neither side is the truth" in (files / "out" / "report.html").read_text()
    assert json.loads((files / "out" / "metrics.json").read_text())["mre_px_fh1"] == 10


def test_a_group_column_is_used_or_named_as_missing(capsys, files):
    lines = TRUTH.splitlines()
    (files / "truth.csv").write_text("\n".join([f"{lines[0]},patient", *(f"{line},p1" for line in lines[1:])]) + "\n")
    assert run(capsys, files, "--group", "patient")[0] == 0
    figures = json.loads((files / "out" / "metrics.json").read_text())
    assert (figures["n_groups"], figures["groups"]) == (1, "frames with the same patient")
    assert figures["mre_px_ci"] is None
    assert "fewer than 20 groups (1)" in figures["ci_withheld"]
    code, _, err = run(capsys, files, "--group", "hospital")
    assert (code, err.count("\n")) == (2, 1)
    assert "--group: expected a column of the truth file (patient) or auto, found 'hospital'" in err


def test_a_picture_that_is_not_there_is_one_line(capsys, files):
    code, _, err = run(capsys, files, "--images", str(files))
    assert (code, err.count("\n")) == (2, 1)
    assert "no picture a.png" in err


def test_neither_torch_nor_matplotlib_is_imported(files):
    command = ["evaluate", str(files / "results"), str(files / "truth.csv"), "--out", str(files / "out")]
    code = (
        "import sys; from aop_pose.cli import main; "
        f"assert main.run({command!r}) == 0; "
        "assert not {'torch', 'matplotlib', 'scipy', 'pandas', 'onnxruntime'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_scale_without_picture_sizes_is_refused(capsys, files):
    table = files / "results" / "results.csv"
    table.write_text(table.read_text().replace(",300,400,", ",,,"))
    code, _, err = run(capsys, files, "--scale", "512")
    assert (code, err.count("\n")) == (2, 1)
    assert "--scale" in err


def test_a_plan_prints_patients_with_their_sources(capsys):
    assert main.run(["evaluate", "--plan", "--sd", "7.4", "--half-width", "2"]) == 0
    out = capsys.readouterr().out
    assert "158  Bland and Altman 1986" in out
    assert "158  Carkeet 2015" in out
    assert "simulation of 20000 studies" in out
    assert "research use" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--plan", "--sd", "7.4"], "--plan: expected --sd DEG and --half-width DEG"),
        (["--plan", "--sd", "7.4", "--half-width", "2", "results"], "and nothing else"),
        (["--plan", "--sd", "-1", "--half-width", "2"], "--sd: expected degrees above 0, found -1"),
        (["results", "truth", "--out", "out", "--sd", "3"], "expected with --plan only"),
        (["results"], "expected RESULTS, TRUTH and --out DIR"),
    ],
)
def test_a_plan_that_does_not_fit_is_one_line(capsys, words, message):
    assert main.run(["evaluate", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_checklist_is_written_where_it_is_asked_for(capsys, files):
    run(capsys, files)
    assert not (files / "out" / "checklist.html").exists()
    assert run(capsys, files, "--checklist")[0] == 0
    assert "GRRAS" in (files / "out" / "checklist.html").read_text()


TRUE = np.random.default_rng(0).uniform(80, 150, 60)


def points(angle, scale=1.0):
    """PS1, PS2 and FH1, rounded as tables are."""
    ray = np.deg2rad(180 - angle)
    coords = np.array([(150, 60), (100, 60), (150 + 100 * np.cos(ray), 60 + 100 * np.sin(ray))])
    return [f"({x:.3f}, {y:.3f})" for x, y in coords * scale]


def tables(folder, found, true, half=None, **truth):
    """Results and a truth of single angles; ``half`` of stated intervals, negative = upside down."""
    lines, labels = [HEADER], ["Filename,PS1,PS2,FH1"]
    for number, (angle, reference) in enumerate(zip(found, true, strict=True)):
        cells = ",".join(part.strip("()").replace(" ", "") for part in points(angle))
        ends = "," if half is None else f"{angle - half:.3f},{angle + half:.3f}"
        lines.append(f"{number}.png,0,256,256,ok,,{cells},0.9,{angle:.3f},{ends},,,m@1")
        labels += [",".join([f"{number}.png", *(f'"{place}"' for place in points(one, **truth))])
                   for one in np.atleast_1d(reference)]  # fmt: skip
    (folder / "results" / "results.csv").write_text("\n".join(lines) + "\n")
    (folder / "truth.csv").write_text("\n".join(labels) + "\n")


@pytest.mark.parametrize(("given", "words"), [
    ({"found": TRUE, "true": np.full(60, 110.0)}, "The true AoP is 110.0° in every image"),
    ({"found": TRUE + 3, "true": TRUE}, "Every error of AoP is the same (+3.0°)"),
    ({"found": TRUE, "true": TRUE}, "Every error of AoP is 0"),
    ({"found": np.full(2000, 110.0), "true": np.full(2000, 105.0)}, "Every error of AoP is the same (+5.0°)"),
    ({"found": TRUE, "true": TRUE[::-1], "scale": 0.25}, "0.25 times as far apart as the results'"),
    ({"found": TRUE + 1, "true": TRUE[:, None] + [0, 3]}, "60 of 60 (2 readings each)"),
    ({"found": TRUE, "true": TRUE[::-1], "half": -9}, "upside down (aop_low above aop_high), taken as without one: 60"),
    ({"found": TRUE[:12], "true": TRUE[11::-1], "half": 1}, "Stated intervals hold too rarely"),
])  # fmt: skip
def test_numbers_that_mean_little_are_said_before_them(capsys, files, given, words):
    tables(files, **given)
    code, _, err = run(capsys, files)
    assert code == 0
    assert words in err
    figures = json.loads((files / "out" / "metrics.json").read_text())
    if "Every error" in words:
        assert figures["aop_mae_deg_ci"] is None
        assert figures["aop_bias_deg_ci"] is None
