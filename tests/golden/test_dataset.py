"""``dataset``: phantoms, conversions between all formats, checks with findings, splits."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

TO = ("iugc", "masks", "yolo-pose", "yolo-detect", "head-csv", "points-3d")
SOURCES = {
    "aop": ("--count", "5", "--seed", "6", "--size", "96"),
    "head": ("--count", "5", "--seed", "6", "--schema", "head", "--size", "128"),
    "fetus": ("--count", "2", "--seed", "6", "--schema", "fetus", "--size", "32"),
}


def tables(golden, folder):
    """Every table and settings file below a folder."""
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix in (".csv", ".yaml", ".json", ".txt"):
            golden.text(path.as_posix())


def faces(folder):
    """Two MetaImage volumes and the places of brain and eyes in them."""
    Path(folder, "volumes").mkdir(parents=True)
    draw = np.random.default_rng(2)
    rows = [
        "Filename,mother,brain_i,brain_j,brain_k,left_eye_i,left_eye_j,left_eye_k,right_eye_i,right_eye_j,right_eye_k"
    ]
    for number in range(2):
        header = "ObjectType = Image\nNDims = 3\nDimSize = 12 10 8\nElementType = MET_UCHAR\n"
        header += "ElementSpacing = 2 2 3\nElementDataFile = LOCAL\n"
        voxels = draw.integers(0, 256, (8, 10, 12), dtype=np.uint8)
        Path(folder, "volumes", f"v{number}.mha").write_bytes(header.encode() + voxels.tobytes())
        rows.append(f"v{number}.mha,m{number},6,5,4,3,4.5,2,8,4,{2 + number}")
    Path(folder, "labels.csv").write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize("kind", SOURCES)
def test_phantoms(golden, kind):
    golden.run("dataset", "phantom", "made", *SOURCES[kind])
    golden.files("made")
    tables(golden, "made")
    golden.pixels("made")
    golden.run("dataset", "check", "made")
    golden.run("dataset", "phantom", "made", *SOURCES[kind])
    golden.run("dataset", "phantom", "made", "--count", "1", *SOURCES[kind][4:], "--overwrite")
    golden.files("made")


def test_phantoms_of_one_device_and_of_time(golden):
    golden.run("dataset", "phantom", "x", "--count", "1", "--device", "nothing")
    golden.run("dataset", "phantom", "x", "--count", "0")
    golden.run("dataset", "phantom", "x", "--count", "1", "--size", "3")
    golden.run("dataset", "phantom", "x", "--count", "1", "--schema", "heart")
    golden.run("dataset", "phantom", "x", "--count", "1", "--schema", "head", "--device", "convex")
    golden.run("dataset", "phantom", "x", "--count", "1", "--times", "2")
    assert not Path("x").exists()
    golden.run("dataset", "phantom", "moving", "--count", "1", "--schema", "fetus", "--size", "32", "--times", "3")
    golden.files("moving")
    tables(golden, "moving")


@pytest.mark.parametrize("to", TO)
@pytest.mark.parametrize("kind", SOURCES)
def test_convert(golden, stored, kind, to):
    stored("src", *SOURCES[kind])
    golden.run("dataset", "convert", "src", "dst", "--to", to, "--val", "0.4")
    if Path("dst").exists():
        golden.files("dst")
        tables(golden, "dst")
        golden.run("dataset", "check", "dst")


@pytest.mark.parametrize("middle", ["masks", "yolo-pose", "yolo-detect"])
def test_convert_back(golden, stored, middle):
    """From a written format to the others."""
    stored("src", *SOURCES["aop"])
    golden.run("dataset", "convert", "src", "middle", "--to", middle, "--seed", "1")
    for to in TO:
        golden.run("dataset", "convert", "middle", to, "--to", to, "--from", middle)
        if Path(to, "labels.csv").exists():
            golden.text(f"{to}/labels.csv")


def test_convert_points_in_volumes(golden):
    faces("src")
    golden.run("dataset", "convert", "src", "dst", "--to", "points-3d")
    golden.files("dst")
    tables(golden, "dst")
    golden.run("dataset", "check", "dst")
    golden.run("dataset", "convert", "src", "other", "--to", "iugc")


def test_convert_errors(golden, stored):
    stored("src", *SOURCES["aop"])
    golden.run("dataset", "convert", "src", "dst", "--to", "cocoa")
    golden.run("dataset", "convert", "src", "dst", "--to", "iugc", "--from", "crystal")
    golden.run("dataset", "convert", "src", "src", "--to", "masks")
    golden.run("dataset", "convert", "gone", "dst", "--to", "masks")
    golden.run("dataset", "convert", "src", "dst", "--to", "masks", "--from", "yolo-pose")
    golden.run("dataset", "convert", "src", "dst", "--to", "yolo-pose", "--val", "1")
    Path("empty").mkdir()
    golden.run("dataset", "convert", "empty", "dst", "--to", "iugc")
    assert not Path("dst").exists()
    Path("dst").mkdir()
    Path("dst", "thesis.tex").write_text("mine")
    golden.run("dataset", "convert", "src", "dst", "--to", "masks", "--overwrite")
    golden.run("dataset", "convert", "src", "dst", "--to", "masks")
    golden.files("dst")


def test_convert_leaves_out_with_a_reason(golden, stored):
    stored("src", *SOURCES["aop"])
    for path, text in zip(sorted(Path("src/masks").iterdir()), (None, "broken", ""), strict=False):
        if text is None:
            path.unlink()
        elif text:
            path.write_text(text)
        else:
            cv2.imwrite(str(path), np.zeros((96, 96), np.uint8))
    Path("src/labels.csv").unlink()
    golden.run("dataset", "convert", "src", "dst", "--to", "iugc", "--from", "masks")
    golden.files("dst")
    golden.text("dst/labels.csv")


def test_check_names_every_bad_row(golden, stored):
    folder = stored("src", *SOURCES["aop"])
    with open("src/labels.csv", newline="") as stream:
        header, *rows = list(csv.reader(stream))
    names = [row[0] for row in rows]
    bad = [
        f'{names[0]},"(10, 10)","(40, 10)","(20, 60)",12.0',
        f'{names[1]},"(10, 10)","(400, 10)","(20, 60)",',
        f'{names[1]},"(10, 10)","(40, 10)","(20, 60)",',
        f'{names[2]},here,"(40, 10)","(20, 60)",90',
        'gone.png,"(10, 10)","(40, 10)","(20, 60)",',
        f'{names[3]},"(10, 10)","(40, 10)"',
        f'{names[4]},"(10, 10)","(40, 10)","(20, 60)",much',
    ]
    (folder / "labels.csv").write_text("\n".join([",".join(header[:5]), *bad]) + "\n")
    (folder / "images" / names[4]).write_bytes(b"broken")
    golden.run("dataset", "check", "src")
    golden.run("dataset", "check", "src/labels.csv", "--data", "nowhere")
    Path("wrong.csv").write_text("Filename,PS1,FH1\na.png,1,2\n")
    golden.run("dataset", "check", "wrong.csv")
    golden.run("dataset", "check", "gone.csv")


def test_check_of_heads_volumes_masks_and_boxes(golden, stored):
    stored("heads", *SOURCES["head"])
    lines = Path("heads/labels.csv").read_text().splitlines()
    first = lines[1].split(",")
    Path("heads/labels.csv").write_text(
        "\n".join([lines[0], ",".join([first[0], "900", *first[2:]]), *lines[3:]]) + "\n"
    )
    golden.run("dataset", "check", "heads")
    faces("faces")
    Path("faces/labels.csv").write_text(Path("faces/labels.csv").read_text().replace(",6,5,4,", ",60,5,4,", 1))
    golden.run("dataset", "check", "faces")
    stored("src", *SOURCES["aop"])
    for to in ("masks", "yolo-pose", "yolo-detect"):
        golden.run("dataset", "convert", "src", to, "--to", to)
        file = sorted(Path(to).rglob("masks/*.png") if to == "masks" else Path(to).rglob("labels/train/*.txt"))[0]
        file.write_text("0 2 0.5 0.5\n")
        golden.run("dataset", "check", to)


def test_split(golden, stored):
    stored("src", "--count", "8", "--seed", "6", "--size", "64")
    golden.run("dataset", "split", "src", "cut", "--val", "0.25", "--seed", "2")
    tables(golden, "cut")
    golden.run("dataset", "split", "src", "cut")
    golden.run("dataset", "split", "src", "cut", "--overwrite", "--group-regex", "([0-9])\\.png$", "--val", "0.5")
    tables(golden, "cut")
    golden.run("dataset", "split", "src", "other", "--val", "2")
    golden.run("dataset", "split", "src", "other", "--group-column", "patient")
    golden.run("dataset", "split", "src", "other", "--group-regex", "(")
    golden.run("dataset", "split", "gone", "other")
    assert not Path("other").exists()


def test_split_by_a_column(golden, stored):
    stored("heads", *SOURCES["head"])
    lines = Path("heads/labels.csv").read_text().splitlines()
    lines = [f"{line},{'patient' if not number else number // 2}" for number, line in enumerate(lines)]
    Path("heads/labels.csv").write_text("\n".join(lines) + "\n")
    golden.run("dataset", "split", "heads", "cut", "--val", "0.4", "--group-column", "patient")
    tables(golden, "cut")
