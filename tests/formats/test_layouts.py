"""Every data set's own layout, made up small, converted by the command of its card in datasets/."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from aop_pose.cli.dataset import app
from aop_pose.errors import UsageError
from aop_pose.formats.registry import FORMATS, fitting_formats
from tests.formats.made_up import mask, picture, save, save_mha, save_nifti, save_video

CARDS = Path(__file__).resolve().parents[2] / "datasets"
CARD_OF = {
    "psfhs": "psfhs.md",
    "fh-ps-aop": "fh-ps-aop-2023.md",
    "iugc2024": "iugc-2024.md",
    "iugc2025": "iugc-2025.md",
    "jnu-ifm": "jnu-ifm.md",
    "hc18": "hc18.md",
    "fetal-mri": "fetal-mri.md",
}


def mha_pairs(folder):
    for name in ("00001", "00002"):
        save_mha(folder / "image_mha" / f"{name}.mha", np.repeat(picture(int(name))[None], 3, axis=0))
        save_mha(folder / "label_mha" / f"{name}.mha", mask())
    save_mha(folder / "image_mha" / "00003.mha", picture(3))
    save_mha(folder / "label_mha" / "00003.mha", mask(fh=0))


def jnu_ifm(folder):
    for video in ("20190909T155747", "20190910T101010"):
        for frame in (1, 10):
            stem = f"{video}_{frame}"
            save(folder / "us_data" / video / "image" / f"{stem}.png", picture(frame + len(video)))
            save(folder / "us_data" / video / "mask" / f"{stem}_mask.png", mask(7, 8))
        (folder / "us_data" / video / "frame_label.csv").write_text("frame_id,frame_label\n1,6\n10,6\n")
    (folder / "us_data" / "20190910T101010" / "mask" / "20190910T101010_10_mask.png").unlink()


def iugc2024(folder):
    frames = [picture(i, 60, 40) for i in range(6)]
    train, val, test = folder / "train", folder / "val", folder / "test"
    save_video(train / "videos" / "A__A.avi", frames)
    for index in (0, 4):
        save(train / "seg" / "A" / "mask" / f"A_{index}_6.png", mask(7, 8))
    rows = "filename,frame_count,labeled_frame_count,{}\n"
    (train / "seg" / "seg_info.csv").write_text(rows.format("labeled_index") + 'A.avi,6,3,"0,4,5"\n')
    # y first: PS1 is the right one, whichever stands first. The angle of these points is 122.41 degrees.
    entry = {"ps_points": [["5", "5"], ["6", "14"]], "aop_tangency": ["20", "40"], "hsd": 1.0, "aop": 1.0}
    (train / "seg" / "landmark.json").write_text(json.dumps({"A_4_6.png": entry}))
    save_video(val / "videos" / "B.avi", frames)
    save(val / "seg" / "B_3.png", mask())
    (val / "seg" / "seg_info.csv").write_text(rows.format("labeled_frame_index") + "B.avi,6,1,3\n")
    save_video(test / "videos" / "test_10_2.avi", frames)
    save(test / "seg" / "test_10_2.png", mask())
    (test / "seg" / "seg_info.csv").write_text(rows.format("labeled_frame_index") + "test_10_2.avi,6,1,2\n")


def iugc2025(folder):
    labelled = folder / "Dataset" / "Training" / "Labeled cases"
    save(labelled / "1.png", picture(1))
    (labelled / "label.csv").write_text(
        'Filename,PS1,PS2,FH1\n1.png,"(14, 6)","(5, 5)","(40, 20)"\n2.png,"(1, 1)","(2, 2)","(3, 3)"\n'
    )
    val = folder / "Dataset" / "Validation"
    save(val / "images" / "1.png", picture(2))
    (val / "landmarks_data.csv").write_text('Filename,PS1,PS2,AOP Tangency\n1.png,"[15, 7]","[6, 6]","[41, 21]"\n')


def hc18(folder):
    rows = ["filename,pixel size(mm),head circumference (mm)", "010_HC.png,0.2,63.6", "011_HC.png,0.1,31.8"]
    (folder / "training_set").mkdir(parents=True)
    (folder / "training_set_pixel_size_and_HC.csv").write_text("\n".join(rows) + "\n")
    save(folder / "training_set" / "010_HC.png", picture(0, 200, 150))
    line = np.zeros((150, 200), dtype=np.uint8)
    cv2.ellipse(line, (100, 75), (60, 40), 0, 0, 360, 255, 3)
    save(folder / "training_set" / "010_HC_Annotation.png", line)


def fetal_mri(folder):
    script = [f"data{{ {i}}} = 'data/ep2d_0{i}.nii.gz';\nga( {i}) = 31.5;   \n" for i in (1, 2)]
    script += [f"bman{{ {i}}} = [ 6  5 4]; lman{{ {i}}} = [ 0  1 2]; rman{{ {i}}} = [ 3  3 3];\n" for i in (1, 2)]
    save_nifti(folder / "data" / "ep2d_01.nii.gz", (7, 6, 5))
    (folder / "loaddata.m").write_text("".join(script))


MADE_UP = {
    "psfhs": (mha_pairs, ["00001.png", "00002.png"]),
    "fh-ps-aop": (mha_pairs, ["00001.png", "00002.png"]),
    "iugc2024": (iugc2024, ["A_0.png", "A_4.png", "B_3.png", "test_10_2_2.png"]),
    "iugc2025": (iugc2025, ["Dataset__Training__Labeled_cases__1.png", "Dataset__Validation__1.png"]),
    "jnu-ifm": (
        jnu_ifm,
        ["20190909T155747_1.png", "20190909T155747_10.png", "20190910T101010_1.png"],
    ),
    "hc18": (hc18, ["010_HC.png"]),
    "fetal-mri": (fetal_mri, ["ep2d_01.nii.gz"]),
}


def card_command(name):
    """The words of the one convert command of a card; that with the published split repeats it."""
    commands = re.findall(r"^aop-pose dataset (convert .*)$", (CARDS / CARD_OF[name]).read_text(), re.MULTILINE)
    assert {command.partition(" --splits ")[0] for command in commands} == {commands[0]}
    return commands[0].split()


def convert_by_card(name, tmp_path):
    """Run the card's command with its two folders exchanged; returns the rows of its table."""
    make, _ = MADE_UP[name]
    make(tmp_path / "src")
    words = card_command(name)
    words[1], words[2] = str(tmp_path / "src"), str(tmp_path / "dst")
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    with open(tmp_path / "dst" / "labels.csv", newline="") as stream:
        return list(csv.DictReader(stream)), result


@pytest.mark.parametrize("name", list(MADE_UP))
def test_the_command_of_the_card_converts_a_folder_of_that_layout(name, tmp_path):
    rows, _ = convert_by_card(name, tmp_path)
    assert sorted(row["Filename"] for row in rows) == MADE_UP[name][1]
    checked = CliRunner().invoke(app, ["check", str(tmp_path / "dst")])
    assert checked.exit_code == 0, checked.output


@pytest.mark.parametrize("name", list(MADE_UP))
def test_the_layout_is_found_without_being_named(name, tmp_path):
    MADE_UP[name][0](tmp_path)
    found = [layout.name for layout in fitting_formats(tmp_path)]
    assert name in found
    assert set(found) <= {name, "psfhs", "fh-ps-aop"}


def test_every_layout_has_a_made_up_folder_and_a_card():
    # What ``predict`` writes is no data set of others.
    theirs = {name for name, format in FORMATS.items() if not format.is_written} - {"outlines", "results"}
    assert theirs == set(MADE_UP) == set(CARD_OF)
    index = (CARDS / "README.md").read_text()
    for name, card in CARD_OF.items():
        assert f"--from {name}" in (CARDS / card).read_text()
        assert f"({card})" in index


def test_a_frame_without_a_head_is_left_out_with_a_reason(tmp_path):
    _, result = convert_by_card("psfhs", tmp_path)
    assert "left out 00003.mha: " in result.stderr
    assert "2 frames" in result.stdout
    assert "1 left out" in result.stdout


def test_missing_pictures_and_masks_are_left_out_with_a_reason(tmp_path):
    _, result = convert_by_card("jnu-ifm", tmp_path / "a")
    assert "no mask 20190910T101010_10_mask.png" in result.stderr
    _, result = convert_by_card("iugc2025", tmp_path / "b")
    assert "label.csv:3: no picture 2.png" in result.stderr
    _, result = convert_by_card("hc18", tmp_path / "c")
    assert "011_HC.png: no picture 011_HC.png" in result.stderr
    _, result = convert_by_card("fetal-mri", tmp_path / "d")
    assert "ep2d_02.nii.gz: no volume data/ep2d_02.nii.gz" in result.stderr
    _, result = convert_by_card("iugc2024", tmp_path / "e")
    assert "no mask of frame 5 of A" in result.stderr


def test_iugc2024_takes_its_own_landmarks_and_the_frame_they_belong_to(tmp_path):
    rows, _ = convert_by_card("iugc2024", tmp_path)
    by_name = {row["Filename"]: row for row in rows}
    assert (by_name["A_4.png"]["PS1"], by_name["A_4.png"]["PS2"]) == ("(14, 6)", "(5, 5)")
    assert by_name["A_4.png"]["FH1"] == "(40, 20)"
    assert by_name["A_0.png"]["PS1"] != "(14, 6)"
    with Image.open(tmp_path / "dst" / "images" / "A_4.png") as image:
        assert np.abs(np.asarray(image).astype(int) - picture(4, 60, 40)).max() <= 2


def test_iugc2025_calls_its_head_point_by_another_name(tmp_path):
    rows, _ = convert_by_card("iugc2025", tmp_path)
    assert rows[1]["FH1"] == "(41, 21)"


def test_hc18_axes_lie_in_the_middle_of_the_drawn_line(tmp_path):
    rows, _ = convert_by_card("hc18", tmp_path)
    found = [float(rows[0][column]) for column in list(rows[0])[1:9]]
    np.testing.assert_allclose(found, [40, 75, 160, 75, 100, 35, 100, 115], atol=0.5)
    assert (rows[0]["pixel_size_mm"], rows[0]["head_circumference_mm"]) == ("0.2", "63.6")


def test_hc18_outlines_that_were_filled_give_the_same_axes(tmp_path):
    make_filled = np.zeros((150, 200), dtype=np.uint8)
    cv2.ellipse(make_filled, (100, 75), (60, 40), 0, 0, 360, 255, -1)
    hc18(tmp_path / "src")
    save(tmp_path / "src" / "training_set" / "010_HC_Annotation.png", make_filled)
    CliRunner().invoke(app, ["convert", str(tmp_path / "src"), str(tmp_path / "dst"), "--to", "head-csv"])
    with open(tmp_path / "dst" / "labels.csv", newline="") as stream:
        row = next(csv.reader(list(stream)[1:]))
    np.testing.assert_allclose([float(cell) for cell in row[1:9]], [40, 75, 160, 75, 100, 35, 100, 115], atol=0.6)


def test_hc18_outlines_that_no_ellipse_fits_are_left_out(tmp_path):
    hc18(tmp_path / "src")
    line = np.zeros((150, 200), dtype=np.uint8)
    line[75, 40:44] = 255
    save(tmp_path / "src" / "training_set" / "010_HC_Annotation.png", line)
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "src"), str(tmp_path / "dst"), "--to", "head-csv"])
    assert isinstance(result.exception, UsageError)
    assert "an outline that an ellipse fits" in str(result.exception)


def test_fetal_mri_indices_stay_zero_based(tmp_path):
    rows, _ = convert_by_card("fetal-mri", tmp_path)
    assert [rows[0][f"brain_{axis}"] for axis in "ijk"] == ["6", "5", "4"]
    assert rows[0]["ga_weeks"] == "31.5"


ESCAPES = ["../secret", "x/../../secret", "/etc/secret", "..\\secret"]


@pytest.mark.parametrize("name", ESCAPES)
def test_a_table_of_hc18_does_not_lead_out_of_the_folder(name, tmp_path):
    hc18(tmp_path / "src")
    table = tmp_path / "src" / "training_set_pixel_size_and_HC.csv"
    table.write_text(table.read_text().replace("011_HC.png", f"{name}.png"))
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "src"), str(tmp_path / "dst"), "--to", "head-csv"])
    assert result.exit_code == 0
    assert re.search("which leads out of it", " ".join(result.output.split()))
    assert "1 left out" in result.output


@pytest.mark.parametrize("name", ESCAPES)
def test_a_script_of_fetal_mri_does_not_lead_out_of_the_folder(name, tmp_path):
    fetal_mri(tmp_path / "src")
    script = tmp_path / "src" / "loaddata.m"
    script.write_text(script.read_text().replace("data/ep2d_02.nii.gz", f"{name}.nii.gz"))
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "src"), str(tmp_path / "dst"), "--to", "points-3d"])
    assert result.exit_code == 0
    assert "which leads out of it" in " ".join(result.output.split())
    assert "1 left out" in result.output


def test_links_out_of_these_folders_are_refused(tmp_path):
    for make, place, to in (
        (hc18, "training_set/010_HC_Annotation.png", "head-csv"),
        (fetal_mri, "data/ep2d_01.nii.gz", "points-3d"),
    ):
        source = tmp_path / to
        make(source)
        (source / place).rename(tmp_path / f"{to}-outside")
        (source / place).symlink_to(tmp_path / f"{to}-outside")
        result = CliRunner().invoke(app, ["convert", str(source), str(tmp_path / "dst"), "--to", to])
        assert isinstance(result.exception, UsageError)
        assert "a link that leads out of it" in str(result.exception) + " ".join(result.output.split())


@pytest.mark.parametrize("point", ["6 5", "6 5 x", "6_0 5 4", ""])
def test_a_point_of_fetal_mri_that_is_none_leaves_its_volume_out(point, tmp_path):
    fetal_mri(tmp_path / "src")
    script = tmp_path / "src" / "loaddata.m"
    script.write_bytes(script.read_bytes().replace(b"6  5 4", point.encode(), 1) + b"% Messung f\xfcr")
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "src"), str(tmp_path / "dst"), "--to", "points-3d"])
    assert isinstance(result.exception, UsageError), result.output
    assert re.search("expected a number|three indices|no brain", str(result.exception) + result.output)
