"""``evaluate``: points of frames, axes of heads and points in volumes against a truth that is written by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

AOP = (
    "source,index,width,height,status,reason,PS1_x,PS1_y,PS2_x,PS2_y,FH1_x,FH1_y,score,aop_deg,aop_low,aop_high,"
    "hsd_px,hsd_mm,model\n"
)
HEAD = (
    "source,index,width,height,status,reason,OFD1_x,OFD1_y,OFD2_x,OFD2_y,BPD1_x,BPD1_y,BPD2_x,BPD2_y,score,ofd_px,"
    "bpd_px,hc_px,ofd_mm,bpd_mm,hc_mm,hc_ramanujan_mm,model\n"
)
FACE = (
    "source,index,status,reason,brain_i,brain_j,brain_k,left_eye_i,left_eye_j,left_eye_k,right_eye_i,right_eye_j,"
    "right_eye_k,score,eye_distance_mm,model\n"
)
FACE_TRUTH = (
    "Filename,patient,brain_i,brain_j,brain_k,left_eye_i,left_eye_j,left_eye_k,right_eye_i,right_eye_j,right_eye_k\n"
)


@pytest.fixture(autouse=True)
def strict(golden):
    """Nothing is learned or measured here: the numbers are the same on every machine."""
    golden.tolerance = 1e-4


def picture(path, seed, width, height):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)).save(path)


@pytest.fixture
def points():
    """26 true frames of nine patients; one of them withheld, one without a row, and a row too many."""
    draw = np.random.default_rng(5)
    rows, truth = [AOP], ["Filename,PS1,PS2,FH1,AoP,patient,device\n"]
    for number in range(26):
        size = (128, 96) if number % 2 else (100, 100)
        name = f"{number:02}.png"
        picture(f"frames/{name}", number, *size)
        ps1, ps2, fh1 = np.array([60.0, 20]), np.array([30.0, 15 + number]), np.array([70.0 - 2 * number, 60])
        text = ",".join(f'"({x:.1f}, {y:.1f})"' for x, y in (ps1, ps2, fh1))
        truth.append(f"{name},{text},,p{number // 3},{'wide' if number % 2 else 'narrow'}\n")
        one, two, three = (point + draw.normal(0, 3, 2).round(2) for point in (ps1, ps2, fh1))
        cells = ",".join(f"{value:.3f}" for value in (*one, *two, *three))
        cosine = (two - one) @ (three - one) / np.linalg.norm(two - one) / np.linalg.norm(three - one)
        angle = np.degrees(np.arccos(cosine))
        if number == 4:
            rows.append(
                f"{name},0,{size[0]},{size[1]},abstained,withheld: not the plane,{cells},0.3,,,,,,made@12345678\n"
            )
        elif number != 7:
            low, high = angle - 12, angle + 12
            rows.append(
                f"{name},0,{size[0]},{size[1]},ok,,{cells},0.8,{angle:.4f},{low:.4f},{high:.4f},,,made@12345678\n"
            )
    rows.append("99.png,0,10,10,ok,,1,1,2,1,1,2,0.8,90,,,,,made@12345678\n")
    Path("results").mkdir()
    Path("results/results.csv").write_text("".join(rows))
    Path("truth.csv").write_text("".join(truth))


def told(golden, out="out"):
    golden.files(out)
    golden.document(f"{out}/metrics.json")
    golden.text(f"{out}/per_frame.csv")
    golden.page(f"{out}/report.html")


def test_points_in_pixels(golden, points):
    golden.run("evaluate", "results", "truth.csv", "--out", "out")
    told(golden)


def test_points_on_the_scale_of_the_challenge(golden, points):
    golden.run(
        "evaluate", "results/results.csv", "truth.csv", "--out", "out", "--scale", "512", "--group", "patient",
        "--at", "60", "--label-sd", "4", "--with-missing", "--decision-curve",
    )  # fmt: skip
    told(golden)


def test_points_with_pictures(golden, points):
    golden.run("evaluate", "results", "truth.csv", "--out", "out", "--images", "frames", "--group-regex", "^(.)")
    told(golden)


def test_points_of_a_consensus(golden, points):
    header, *rows = Path("truth.csv").read_text().splitlines()
    spread = "PS1_sd_px,PS2_sd_px,FH1_sd_px,AoP_sd,readers"
    lines = [f"{header},{spread}", *(f"{row},2.5,3,4,{3 + number % 3},2" for number, row in enumerate(rows))]
    Path("truth.csv").write_text("\n".join(lines) + "\n")
    golden.run("evaluate", "results", "truth.csv", "--out", "out")
    golden.document("out/metrics.json")


def test_two_readers(golden, points):
    Path("other.csv").write_text(Path("truth.csv").read_text().replace("(60.0, 20.0)", "(62.0, 21.0)"))
    golden.run("evaluate", "other.csv", "truth.csv", "--out", "out", "--images", "frames")
    told(golden)
    golden.run("evaluate", "results", "results", "--out", "same")
    golden.document("same/metrics.json")


def test_points_that_do_not_fit(golden, points):
    Path("head.csv").write_text(
        "Filename,ofd_1_x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y\n00.png,1,1,9,9,1,9,9,1\n"
    )
    Path("none.csv").write_text('Filename,PS1,PS2,FH1\nelse.png,"(1, 1)","(2, 1)","(1, 2)"\n')
    Path("twice.csv").write_text(Path("truth.csv").read_text() + Path("truth.csv").read_text().splitlines()[1] + "\n")
    Path("wrong.csv").write_text(Path("truth.csv").read_text().replace("(60.0, 20.0)", "here", 1))
    Path("empty").mkdir()
    Path("notes.csv").write_text("a,b\n1,2\n")
    for words in (
        ("results", "head.csv"),
        ("results", "none.csv"),
        ("results", "twice.csv"),
        ("results", "wrong.csv"),
        ("results", "gone.csv"),
        ("gone", "truth.csv"),
        ("empty", "truth.csv"),
        ("notes.csv", "truth.csv"),
        ("results", "notes.csv"),
        ("results", "truth.csv", "--group", "hospital"),
        ("results", "truth.csv", "--group-regex", "("),
        ("results", "truth.csv", "--group-regex", "^x(.)"),
        ("results", "truth.csv", "--group", "patient", "--group-regex", "^(.)"),
        ("results", "truth.csv", "--images", "nowhere"),
        ("results", "truth.csv", "--scale", "0"),
    ):
        golden.run("evaluate", *words, "--out", "out")
    assert not Path("out").exists()
    Path("file").write_text("a file")
    golden.run("evaluate", "results", "truth.csv", "--out", "file")


@pytest.mark.parametrize("expert", [True, False], ids=["with-expert", "in-pixels"])
def test_heads(golden, expert):
    draw = np.random.default_rng(8)
    rows = [HEAD]
    more = ",pixel_size_mm,head_circumference_mm" if expert else ""
    truth = [f"Filename,ofd_1_x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y{more}\n"]
    for number in range(44):
        name, half = f"{number // 2:03}_HC{number % 2}.png", (40 + number % 9, 30 + number % 7)
        axes = np.array([[60 - half[0], 60], [60 + half[0], 60], [60, 60 - half[1]], [60, 60 + half[1]]], float)
        known = f",0.5,{np.pi * sum(half) / 2:.2f}" if expert else ""
        truth.append(f"{name},{','.join(f'{value:.1f}' for value in axes.ravel())}{known}\n")
        found = axes + draw.normal(0, 1.5, axes.shape).round(2)
        if number == 3:
            found = found[[1, 0, 2, 3]]
        cells = ",".join(f"{value:.3f}" for value in found.ravel())
        ofd, bpd = np.linalg.norm(found[0] - found[1]), np.linalg.norm(found[2] - found[3])
        lengths = f"{ofd:.4f},{bpd:.4f},{np.pi * (ofd + bpd) / 2:.4f}"
        if number == 5:
            rows.append(
                f"{name},0,130,130,abstained,the points are not the axes of one head,{cells},0.2,,,,,,,,m@12345678\n"
            )
        else:
            rows.append(f"{name},0,130,130,ok,,{cells},0.7,{lengths},,,,,m@12345678\n")
    Path("results.csv").write_text("".join(rows))
    Path("truth.csv").write_text("".join(truth))
    golden.run("evaluate", "results.csv", "truth.csv", "--out", "out", "--group-regex", "^([0-9]+)_")
    told(golden)


@pytest.fixture
def volumes():
    """24 volumes of 10 x 10 x 10 voxels of 2 x 3 x 6 mm; eyes exchanged in some, nothing found in others."""
    Path("data/volumes").mkdir(parents=True)
    header = "ObjectType = Image\nNDims = 3\nDimSize = 10 10 10\nElementType = MET_UCHAR\n"
    header += "ElementSpacing = 2 3 6\nElementDataFile = LOCAL\n"
    found = (
        "ok,,6,6,6,8,5,5,5,8,5,0.9,10.8",
        "ok,,5,5,5,5,8,5,8,5,5,0.9,10.8",
        "abstained,no anatomy found,,,,,,,,,,0.0,",
        "ok,,5,5,4.5,7.5,5,5,,,,0.6,",
    )
    truth, rows = [FACE_TRUTH], [FACE]
    for number in range(24):
        name = f"{number:02}.mha"
        Path("data/volumes", name).write_bytes(header.encode() + bytes(1000))
        truth.append(f"{name},p{number // 2},5,5,5,8,5,5,5,8,5\n")
        rows.append(f"{name},0,{found[number % 4]},m@12345678\n")
    Path("data/labels.csv").write_text("".join(truth))
    Path("results.csv").write_text("".join(rows))


@pytest.mark.parametrize("group", [(), ("--group", "patient")], ids=["alone", "by-patient"])
def test_volumes(golden, volumes, group):
    golden.run("evaluate", "results.csv", "data/labels.csv", "--out", "out", *group)
    told(golden)


def test_volumes_of_two_readers_and_errors(golden, volumes):
    Path("other.csv").write_text(Path("data/labels.csv").read_text().replace("p1,5,5,5", "p1,6,5,5"))
    golden.run("evaluate", "other.csv", "data/labels.csv", "--out", "out")
    golden.document("out/metrics.json")
    Path("none.csv").write_text(FACE + "x.mha,0,ok,,6,6,6,8,5,5,5,8,5,0.9,10.8,m@12345678\n")
    Path("points.csv").write_text('Filename,PS1,PS2,FH1\na.mha,"(1, 1)","(2, 1)","(1, 2)"\n')
    for words in (
        ("results.csv", "data/labels.csv", "--scale", "512"),
        ("results.csv", "data/labels.csv", "--images", "nowhere"),
        ("results.csv", "data/labels.csv", "--group", "hospital"),
        ("results.csv", "points.csv"),
        ("none.csv", "data/labels.csv"),
        ("results.csv", "other.csv"),
    ):
        golden.run("evaluate", *words, "--out", "bad")
    assert not Path("bad").exists()


def test_a_moving_fetus(golden, stored):
    """A 4-D file has motion beside its errors."""
    stored("moving", "--count", "1", "--schema", "fetus", "--size", "32", "--times", "3")
    golden.run("evaluate", "moving/labels.csv", "moving/labels.csv", "--out", "out", "--images", "moving")
    golden.files("out")
    golden.document("out/metrics.json", keys_only=True)
    golden.page("out/report.html")
