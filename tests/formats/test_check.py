import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.formats.convert import convert
from aop_pose.formats.head import COLUMNS
from aop_pose.formats.registry import check
from tests.formats.made_up import iugc_folder, mask, masks_folder, picture, save, save_nifti, tree
from tests.volume_files import VALUES, nifti


def messages(report, folder):
    return [str(finding).replace(f"{folder}/", "") for finding in report.findings]


def test_a_clean_label_file_has_no_findings(tmp_path):
    iugc_folder(tmp_path, rows=4)
    for given in (tmp_path, tmp_path / "labels.csv"):
        report = check(given)
        assert report.findings == []
        assert report.summary == "4 rows, no findings"


def test_every_bad_row_is_named_by_file_and_line(tmp_path):
    folder = iugc_folder(tmp_path, rows=2)
    save(folder / "images" / "cut.png", picture(9))
    cut = folder / "images" / "cut.png"
    cut.write_bytes(cut.read_bytes()[:-300])
    (folder / "images" / "text.png").write_text("hello")
    good = '"(30, 10)","(10, 10)","(30, 20)",90'
    lines = [
        f"none.png,{good}",
        f"cut.png,{good}",
        f"text.png,{good}",
        '00.png,"(60, 10)","(10, 10)","(60, 20)",90',
        f"images/01.png,{good}",
        f"00.png,{good},7",
        '01.png,"(30; 10)","(10, 10)","(30, 20)",90',
        '01.png,"(10, 10)","(10, 10)","(30, 20)",90',
        '01.png,"(30, 10)","(10, 10)","(30, 20)",90.2',
        '01.png,"(30, 10)","(10, 10)","(30, 20)",x',
        f",{good}",
    ]
    file = folder / "labels.csv"
    file.write_text(file.read_text() + "\n".join(lines) + "\n")
    report = check(file)
    found = messages(report, folder)
    expected = {
        4: ["no picture none.png"],
        5: ["images/cut.png: "],
        6: ["images/text.png: "],
        7: ["expected each picture once, found 00.png again (first in line 2)",
            "PS1: expected a point inside 60x40, found (60, 10) outside",
            "FH1: expected a point inside 60x40, found (60, 20) outside"],
        8: ["expected each picture once, found images/01.png again (first in line 3)"],
        9: ["expected 5 cells, found 6"],
        10: ["expected each picture once", "PS1: expected a point (x, y), found '(30; 10)'"],
        11: ["expected each picture once", "expected PS1 and PS2 apart, found both at (10, 10)",
             "AoP: expected nan"],
        12: ["expected each picture once", "AoP: expected 90.0000 from the points, found 90.2"],
        13: ["expected each picture once", "AoP: expected a number, found 'x'"],
        14: ["Filename: expected a file name"],
    }  # fmt: skip
    flat = [f"labels.csv:{line}: {text}" for line, texts in expected.items() for text in texts]
    assert len(found) == len(flat)
    for said, start in zip(found, flat, strict=True):
        assert said.startswith(start)
    assert report.summary == f"13 rows, {len(flat)} findings"


def test_an_angle_within_a_tenth_of_a_degree_agrees(tmp_path):
    folder = iugc_folder(tmp_path, rows=1)
    file = folder / "labels.csv"
    file.write_text(file.read_text().replace("90.0", "90.09"))
    assert check(file).findings == []
    file.write_text(file.read_text().replace("90.09", "90.11"))
    assert len(check(file).findings) == 1


def test_a_wrong_column_is_one_finding_in_line_1(tmp_path):
    folder = iugc_folder(tmp_path, header="Filename,PS1,PS2,FH,AoP")
    assert messages(check(folder), folder) == [
        "labels.csv:1: expected the columns Filename,PS1,PS2,FH1, found Filename,PS1,PS2,FH,AoP; missing FH1"
    ]


def test_points_on_the_outermost_edge_are_inside(tmp_path):
    folder = iugc_folder(tmp_path, rows=1)
    file = folder / "labels.csv"
    file.write_text('Filename,PS1,PS2,FH1\n00.png,"(59.5, -0.5)","(-0.5, -0.5)","(59.5, 39.5)"\n')
    assert check(file).findings == []


def test_pictures_may_stand_elsewhere(tmp_path):
    iugc_folder(tmp_path / "data", rows=1)
    (tmp_path / "data" / "labels.csv").rename(tmp_path / "labels.csv")
    assert len(check(tmp_path / "labels.csv").findings) == 1
    assert check(tmp_path / "labels.csv", tmp_path / "data").findings == []


def test_head_tables_are_checked_too(tmp_path):
    save(tmp_path / "a.png", picture(0))
    save(tmp_path / "b.png", picture(1))
    rows = [
        "a.png,1,20,41,20,21,5,21,35,0.1",
        "b.png,1,20,99,20,50,-20,50,60,0.1",
        "a.png,1,2,1,2,5,6,7,8,0",
        "b.png,1,2,1,2,5,6,7,8,0.2",
    ]
    (tmp_path / "labels.csv").write_text("\n".join([",".join(COLUMNS) + ",pixel_size_mm", *rows]) + "\n")
    assert messages(check(tmp_path), tmp_path) == [
        "labels.csv:3: OFD2: expected a point inside 60x40, found (99, 20) outside",
        "labels.csv:3: BPD1: expected a point inside 60x40, found (50, -20) outside",
        "labels.csv:3: BPD2: expected a point inside 60x40, found (50, 60) outside",
        "labels.csv:4: expected each picture once, found a.png again (first in line 2)",
        "labels.csv:4: pixel_size_mm: expected a positive number, found '0'",
        "labels.csv:5: expected each picture once, found b.png again (first in line 3)",
        "labels.csv:5: expected OFD1 and OFD2 apart, found both at (1, 2)",
    ]


def test_axes_of_no_head_and_a_circumference_of_another_are_named(tmp_path):
    rows = [f"{name}.png,10,20,50,20,{axis}" for name, axis in zip("abcd", 4 * ["30,5,30,35"], strict=True)]
    # The ellipse with the axes 40 and 30 has a perimeter of 110.52: 11.05 mm.
    rows = [f"{row},0.1,{mm}" for row, mm in zip(rows, ("11.1", "11.6", "12.0", ""), strict=True)]
    rows.append("e.png,30,5,30,35,10,20,50,20,,")
    for name in "abcde":
        save(tmp_path / f"{name}.png", picture(ord(name)))
    header = ",".join([*COLUMNS, "pixel_size_mm", "head_circumference_mm"])
    (tmp_path / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    assert messages(check(tmp_path), tmp_path) == [
        "labels.csv:4: head_circumference_mm: expected about 11.1 from the points and pixel_size_mm, found 12",
        "labels.csv:6: expected the axes of one head, found that BPD is longer than OFD (1.333 times)",
    ]


def test_volumes_are_checked_too(tmp_path):
    save_nifti(tmp_path / "volumes" / "a.nii.gz", (7, 6, 5))
    (tmp_path / "labels.csv").write_text(
        "Filename,brain_i,brain_j,brain_k\na.nii.gz,6,5,4\nb.nii.gz,1,1,1\na.nii.gz,7,5,4\n"
    )
    found = messages(check(tmp_path), tmp_path)
    assert found[0].startswith("labels.csv:3: no picture b.nii.gz")
    assert found[2] == "labels.csv:4: brain: expected a point inside 7x6x5, found (7, 5, 4) outside"
    assert len(found) == 3


def test_a_clean_yolo_folder_has_no_findings(tmp_path):
    convert(iugc_folder(tmp_path / "src"), tmp_path / "pose", "yolo-pose")
    convert(masks_folder(tmp_path / "masks"), tmp_path / "detect", "yolo-detect")
    assert check(tmp_path / "pose").summary == "4 frames, no findings"
    assert check(tmp_path / "detect" / "data.yaml").summary == "3 frames, no findings"


def test_bad_yolo_labels_are_named_by_file_and_line(tmp_path):
    folder = tmp_path / "pose"
    convert(iugc_folder(tmp_path / "src", 8), folder, "yolo-pose")
    before = sorted((folder / "labels" / "train").iterdir())
    good = before[0].read_text()
    cells = good.split()
    edits = [
        good + good,
        " ".join(cells[:-1]),
        " ".join(["1", *cells[1:]]),
        " ".join([*cells[:5], "1.2", *cells[6:]]),
        " ".join([*cells[:2], "0.99", *cells[3:]]),
    ]
    for label, text in zip(before, edits, strict=False):
        label.write_text(text)
    before[5].unlink()
    (folder / "labels" / "train" / "lonely.txt").write_text(good)
    found = messages(check(folder), folder)
    names = [label.name for label in before]
    starts = [
        f"labels/train/{names[0]}:2: expected each box once, found line 1 again",
        f"labels/train/{names[1]}:1: expected 11 numbers, found 10",
        f"labels/train/{names[2]}:1: expected a class below 1, found 1",
        f"labels/train/{names[3]}:1: PS1: expected a point inside 60x40",
        f"labels/train/{names[4]}:1: expected a box inside the picture",
        f"labels/train/{names[5]}: expected a label beside its picture, found none",
        "labels/train/lonely.txt: expected a picture beside the label, found none",
    ]
    assert len(found) == len(starts)
    for said, start in zip(found, starts, strict=True):
        assert said.startswith(start)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("val: images/train\nnames: {0: aop}\n", r"data\.yaml: train: field required"),
        ("train: ''\nnames: {0: aop}\n", r"data\.yaml: train: expected a folder of pictures or a list of them"),
        ("train: [\n", r"data\.yaml: expected YAML"),
        (
            "train: a\nval: b\nnames: {0: aop}\n",
            r"train: expected a folder of pictures, or a list of them, found no .*a",
        ),
    ],
)
def test_a_data_file_that_does_not_fit_is_a_finding(tmp_path, text, message):
    (tmp_path / "data.yaml").write_text(text)
    (finding,) = check(tmp_path).findings
    with pytest.raises(UsageError, match=message):
        raise UsageError(str(finding))


def test_bad_mask_folders_are_named_by_file(tmp_path):
    folder = masks_folder(tmp_path, 5)
    (folder / "masks" / "00.png").unlink()
    save(folder / "masks" / "01.png", mask()[:-1])
    save(folder / "masks" / "02.png", mask(ps=255))
    (folder / "images" / "03.png").write_text("hello")
    save(folder / "masks" / "lonely.png", mask())
    found = messages(check(folder), folder)
    starts = [
        "images/00.png: expected a mask of the same name in masks/",
        "masks/01.png: expected 60x40 as its picture, found 60x39",
        "masks/02.png: expected mask values 0, 1, 2, found 255",
        "images/03.png: ",
        "masks/lonely.png: expected a picture of the same name in images/",
    ]
    assert len(found) == len(starts)
    for said, start in zip(found, starts, strict=True):
        assert said.startswith(start)


def test_volumes_that_cannot_be_used_are_named(tmp_path):
    nan = VALUES.copy()
    nan[0, 0, 0] = np.nan
    files = [
        nifti(tmp_path / "spacing.nii", pixdim=(1, 0, 2, 3)),
        nifti(tmp_path / "sequence.nii", np.stack([VALUES, VALUES], axis=3)),
        nifti(tmp_path / "nan.nii", nan),
        nifti(tmp_path / "short.nii", cut=1),
    ]
    rows = "".join(f"{file.name},1,1,1\n" for file in files)
    (tmp_path / "labels.csv").write_text(f"Filename,brain_i,brain_j,brain_k\n{rows}")
    found = messages(check(tmp_path), tmp_path)
    starts = [
        "labels.csv:2: spacing.nii: spacing: expected positive millimetres along i, j, k, found 0, 2, 3",
        "labels.csv:3: sequence.nii: expected a 3-D volume, found a 4-D file of 2 time points",
        "labels.csv:4: nan.nii: voxels: expected finite gray values, found 1 of 120",
        "labels.csv:5: short.nii: truncated",
    ]
    assert len(found) == len(starts)
    for said, start in zip(found, starts, strict=True):
        assert said.startswith(start)


def test_what_is_no_data_set_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match=r"expected labels\.csv, data\.yaml, images/ and masks/, or files of an"):
        check(tmp_path)
    with pytest.raises(UsageError, match="found nothing there"):
        check(tmp_path / "none")


def test_checking_writes_nothing(tmp_path):
    convert(iugc_folder(tmp_path / "src"), tmp_path / "pose", "yolo-pose")
    before = tree(tmp_path)
    check(tmp_path / "src")
    check(tmp_path / "pose")
    assert tree(tmp_path) == before


def test_real_labels_are_clean(shared_data):
    assert check(shared_data / "psfhs" / "labelled.csv").summary == "300 rows, no findings"
    assert check(shared_data / "fetal_mri" / "labelled.csv").summary == "31 rows, no findings"


def test_time_points_and_spacings_of_a_label_file_are_looked_at(tmp_path):
    (tmp_path / "volumes").mkdir()
    voxels = np.zeros((7, 6, 5, 2), np.float32)
    voxels[0, 0, 0, 1] = np.nan
    np.save(tmp_path / "volumes" / "a.npy", voxels)
    rows = (
        "Filename,index,spacing_i_mm,spacing_j_mm,spacing_k_mm,brain_i,brain_j,brain_k",
        "a.npy,0,1,1,2,6,5,4",
        "a.npy,1,1,1,2,6,5,4",
        "a.npy,2,1,1,2,6,5,4",
        "a.npy,0,1,1,2,9,5,4",
        "a.npy,0,,,,6,5,4",
        "a.npy,x,1,1,2,6,5,4",
    )
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    file = tmp_path / "labels.csv"
    found = [str(finding).removeprefix(f"{file}:") for finding in check(file).findings]
    assert [text.split(":")[0] for text in found] == ["3", "4", "5", "5", "6", "6", "7"]
    said = " ".join(found)
    for text in (
        "1 of 210 that are NaN", "expected a time point from 0 to 1, found 2", "brain", "expected each picture once",
        "found a.npy, time point 0, again (first in line 2)", "columns spacing_i_mm,spacing_j_mm,spacing_k_mm",
        "index: expected a number, found 'x'",
    ):  # fmt: skip
        assert text in said, text
