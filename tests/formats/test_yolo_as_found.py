"""YOLO folders as tools and people leave them: read as Ultralytics reads them, never outside their own folder."""

import os
import shutil

import pytest

from aop_pose.errors import UsageError
from aop_pose.formats.convert import convert
from aop_pose.formats.registry import check
from tests.formats.made_up import iugc_folder, picture, save

KEYS = "kpt_shape: [3, 2]\n"
NAMES = "names: {0: aop}\n"


@pytest.fixture
def folder(tmp_path):
    """Six frames in train and two in val; data.yaml is written by each test."""
    convert(iugc_folder(tmp_path / "src", 8), tmp_path / "ds", "yolo-pose")
    for split, stems in (("train", range(6)), ("val", range(6, 8))):
        for stem in stems:
            for kind, suffix in (("images", "png"), ("labels", "txt")):
                (tmp_path / "ds" / kind / split).mkdir(exist_ok=True)
                found = next((tmp_path / "ds" / kind).rglob(f"{stem:02d}.{suffix}"))
                shutil.move(found, tmp_path / "ds" / kind / split / found.name)
    return tmp_path / "ds"


def read(folder, text):
    (folder / "data.yaml").write_text(text)
    return convert(folder, folder.parent / "out", "iugc", overwrite=True)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (f"train: images/train\nval: images/val\n{NAMES}", 8),
        (f"path:\ntrain: images/train\nval: images/val\n{NAMES}", 8),
        (f"path: .\ntrain: [images/train]\nval: [images/val]\n{NAMES}", 8),
        (f"path: images\ntrain: train\nval: val\n{NAMES}", 8),
        (f"path: ds\ntrain: images/train\nval: images/val\n{NAMES}", 8),
        ("train: images/train\nvalidation: images/val\nnames: [aop]\n", 8),
        ("train: images/train\nval: images/val\nnc: 1\n", 8),
        (f"train: images/train\nval:\n{NAMES}", 6),
        (f"train: images/train\nval: ''\n{NAMES}", 6),
        (f"train: images/train\nval: []\n{NAMES}", 6),
        (f"train: images/train\n{NAMES}", 6),
        (f"train: images/train\nval: images/train\n{NAMES}", 6),
        (f"train: ../images/train\nval: ../images/val\n{NAMES}", 8),
    ],
)
def test_data_yaml_is_read_as_ultralytics_reads_it(folder, text, written):
    done = read(folder, text + KEYS)
    assert (done.written, done.skipped) == (written, [])
    assert check(folder).findings == []
    no_val = (
        "val: images" not in text and "val: ../" not in text and "val: [images" not in text and "val: val" not in text
    )
    assert bool(done.notes) == (no_val and "validation" not in text)


@pytest.mark.parametrize("line", ["./images/train/{}", "images/train/{}", "data/images/train/{}", "images\\train\\{}"])
def test_a_split_may_be_a_list_of_pictures(folder, line):
    (folder / "train.txt").write_text("\n".join(line.format(f"{stem:02d}.png") for stem in range(6)) + "\n\n")
    assert read(folder, f"path: ./\ntrain: train.txt\n{NAMES}{KEYS}").written == 6


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("/", "expected a name below the data folder, found /"),
        ("../elsewhere", "expected elsewhere below the folder of the file, found only ../elsewhere outside"),
        ("../../x", "which leads out of it"),
        ("images/../../elsewhere", "which leads out of it"),
        ("link", "a link that leads out of it"),
    ],
)
def test_a_split_outside_the_folder_is_refused_by_name_and_never_walked(folder, split, said):
    save(folder.parent / "elsewhere" / "a.png", picture(0))
    os.symlink(folder.parent / "elsewhere", folder / "link")
    with pytest.raises(UsageError, match=said):
        read(folder, f"train: images/train\nval: {split}\n{NAMES}{KEYS}")
    (finding,) = check(folder).findings
    assert said in str(finding)


@pytest.mark.parametrize("path", ["..", "/tmp", "../ds2"])
def test_a_path_outside_the_folder_is_refused_by_name(folder, path):
    with pytest.raises(UsageError, match="path: expected a folder below that of the file"):
        read(folder, f"path: {path}\ntrain: images/train\n{NAMES}{KEYS}")


def test_lines_of_a_list_and_links_that_lead_out_are_left_out(folder):
    save(folder.parent / "secret.png", picture(0))
    os.symlink(folder.parent / "secret.png", folder / "images" / "train" / "link.png")
    (folder / "labels" / "train" / "link.txt").write_text((folder / "labels" / "train" / "00.txt").read_text())
    lines = [
        "images/train/00.png",
        "../secret.png",
        str(folder.parent / "secret.png"),
        "images/train/link.png",
        "gone.png",
    ]
    (folder / "train.txt").write_text("\n".join(lines))
    done = read(folder, f"train: train.txt\n{NAMES}{KEYS}")
    assert done.written == 1
    said = [one.reason for one in done.skipped]
    assert ["leads out" in one for one in said] == [True, True, True, False]
    assert said[3].startswith("no picture gone.png")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected one line, found none: a background frame"),
        ("twice", "expected one line, found 2 objects"),
        (None, "expected a label beside its picture, found none"),
        ("0 129 51 184 72 138 36 58 61 200 66", "expected shares .*are they pixels"),
        ("0 .5 .5 .2 .2 1.5 .5 .2 .2 .1 .1", "PS1: expected a point inside 60x40, .*outside"),
        ("0 .5 .5 .2 .2 -.5 .5 .2 .2 .1 .1", "PS1: expected a point inside 60x40, .*outside"),
        ("0 .5 .5 .2 .2 0 0 .2 .2 .1 .1", "nobody marked PS1"),
        ("0 .5 .5 .2 .2 .2 .2 .2 .2 .1 .1", "expected PS1 and PS2 apart"),
        ("3 .5 .5 .2 .2 .5 .5 .2 .2 .1 .1", "expected a class below 1, found 3"),
        ("0 .5 .5 .2 .2 .5 .5 .2 .2 .1 6_0", "expected a number, found '6_0'"),
    ],
)
def test_one_bad_frame_is_left_out_and_the_others_are_read(folder, text, reason):
    label = folder / "labels" / "train" / "02.txt"
    if text is None:
        label.unlink()
    else:
        label.write_text(label.read_text() * 2 if text == "twice" else text)
    done = read(folder, f"train: images/train\nval: images/val\n{NAMES}{KEYS}")
    assert done.written == 7
    (left,) = done.skipped
    assert left.name == "train/02.png"
    with pytest.raises(UsageError, match=reason):
        raise UsageError(left.reason)
    # For Ultralytics a background frame is a good one.
    assert bool(check(folder).findings) == ("background" not in reason)


def test_an_invisible_point_is_not_marked(folder):
    for label in (folder / "labels").rglob("*.txt"):
        cells = label.read_text().split()
        seen = "0 0 0" if label.stem == "01" else f"{cells[9]} {cells[10]} 1"
        label.write_text(f"{' '.join(cells[:7])} 2 {cells[7]} {cells[8]} 2 {seen}\n")
    done = read(folder, f"train: images/train\nval: images/val\n{NAMES}kpt_shape: [3, 3]\n")
    assert done.written == 7
    assert "nan" not in (folder.parent / "out" / "labels.csv").read_text()
    assert [(one.name, one.reason) for one in done.skipped] == [
        ("train/01.png", "expected PS1, PS2, FH1, found that nobody marked FH1")
    ]


def test_labels_in_pixels_are_refused(folder):
    for label in (folder / "labels").rglob("*.txt"):
        label.write_text("0 30 20 12 8 30 10 10 10 30 20\n")
    with pytest.raises(UsageError, match=r"no frame of 8 could be converted .*expected shares .*are they pixels\?"):
        read(folder, f"train: images/train\nval: images/val\n{NAMES}{KEYS}")
    assert not (folder.parent / "out").exists()


@pytest.mark.parametrize("name", ["._00.png", ".hidden.png", "Thumbs.db", "__MACOSX/00.png", ".cache/x.png"])
def test_what_systems_leave_is_passed_over(folder, name):
    for kind in ("images", "labels"):
        left = folder / kind / "train" / (name if kind == "images" else name.replace(".png", ".txt"))
        left.parent.mkdir(exist_ok=True)
        left.write_bytes(b"\x00\x05\x16\x07")
    done = read(folder, f"train: images/train\nval: images/val\n{NAMES}{KEYS}")
    assert (done.written, done.skipped) == (8, [])
    assert check(folder).findings == []
