import csv

import numpy as np
import pytest
import yaml

from aop_pose.errors import UsageError
from aop_pose.formats.convert import Holdout, convert
from aop_pose.formats.registry import read_labels
from aop_pose.formats.yolo import read_yolo_detect
from aop_pose.io.volumes import read_volume
from tests.formats.made_up import iugc_folder, mask, masks_folder, picture, save, tree


def rows(folder):
    with open(folder / "labels.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_iugc_to_pose_and_back_keeps_names_points_and_pictures(tmp_path):
    source = iugc_folder(tmp_path / "src", rows=8)
    there = convert(source, tmp_path / "yolo", "yolo-pose")
    assert (there.source_format, there.written, there.held_out) == ("iugc", 8, 1)
    convert(tmp_path / "yolo", tmp_path / "back", "iugc")
    key = {row["Filename"]: row for row in rows(source)}
    for row in rows(tmp_path / "back"):
        assert [row[column] for column in ("PS1", "PS2", "FH1")] == [
            key[row["Filename"]][column] for column in ("PS1", "PS2", "FH1")
        ]
        assert float(row["AoP"]) == pytest.approx(90, abs=1e-4)
        name = row["Filename"]
        assert (tmp_path / "back" / "images" / name).read_bytes() == (source / "images" / name).read_bytes()


def test_masks_to_boxes_keep_the_edges_of_their_pixels(tmp_path):
    convert(masks_folder(tmp_path / "src"), tmp_path / "out", "yolo-detect")
    for frame in read_yolo_detect(tmp_path / "out"):
        np.testing.assert_allclose(frame.boxes.corners, [[4.5, 4.5, 14.5, 7.5], [19.5, 14.5, 40.5, 30.5]], atol=1e-6)


def test_the_split_of_a_yolo_folder_is_kept(tmp_path):
    convert(iugc_folder(tmp_path / "src", 6), tmp_path / "a", "yolo-pose", holdout=Holdout(0.34, 3))
    convert(tmp_path / "a", tmp_path / "b", "yolo-pose")
    assert tree(tmp_path / "b").keys() == tree(tmp_path / "a").keys()


def test_near_duplicates_are_never_parted(tmp_path):
    source = iugc_folder(tmp_path / "src", rows=6)
    # Three pictures twice, a little brighter.
    for i in range(3):
        save(source / "images" / f"{i + 3:02d}.png", (picture(i) * 0.8 + 20).astype(np.uint8))
    convert(source, tmp_path / "out", "yolo-pose", holdout=Holdout(0.34, 0))
    val = {path.stem for path in (tmp_path / "out" / "images" / "val").iterdir()}
    assert val in ({"00", "03"}, {"01", "04"}, {"02", "05"})


def test_one_group_is_not_parted_either(tmp_path):
    convert(iugc_folder(tmp_path / "src", rows=1), tmp_path / "out", "yolo-pose")
    assert yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())["val"] == "images/train"


def test_phantom_like_folders_are_read_for_what_the_target_needs(tmp_path):
    source = iugc_folder(tmp_path / "src", rows=2)
    for i in range(2):
        save(source / "masks" / f"{i:02d}.png", mask())
    assert convert(source, tmp_path / "a", "iugc").source_format == "iugc"
    assert convert(source, tmp_path / "b", "masks").source_format == "masks"
    assert convert(source, tmp_path / "c", "iugc", "masks").source_format == "masks"


def test_frames_that_cannot_be_converted_are_left_out_with_a_reason(tmp_path):
    source = masks_folder(tmp_path / "src", 3)
    save(source / "masks" / "00.png", mask(0, 0))
    (source / "masks" / "01.png").unlink()
    done = convert(source, tmp_path / "out", "iugc")
    assert [item.name for item in done.skipped] == ["00.png", "01.png"]
    assert [row["Filename"] for row in rows(tmp_path / "out")] == ["02.png"]


def test_a_point_outside_leaves_a_frame_out_of_a_pose_set(tmp_path):
    source = iugc_folder(tmp_path / "src", rows=3)
    file = source / "labels.csv"
    file.write_text(file.read_text().replace("(30, 21)", "(30, 99)"))
    done = convert(source, tmp_path / "out", "yolo-pose")
    assert [item.name for item in done.skipped] == ["01.png"]
    assert done.written == 2


def test_truncated_pictures_are_left_out_of_a_pose_set(tmp_path):
    source = iugc_folder(tmp_path / "src", rows=3)
    path = source / "images" / "02.png"
    path.write_bytes(path.read_bytes()[:-200])
    done = convert(source, tmp_path / "out", "yolo-pose")
    assert [item.name for item in done.skipped] == ["02.png"]


def nothing_was_written(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir()) == ["src"]


@pytest.mark.parametrize(
    ("to", "source_format", "message"),
    [
        ("cocoa", "", "--to: expected one of iugc, .*, masks, .*, labelme, found 'cocoa'"),
        ("iugc", "cocoa", "--from: expected one of .* found 'cocoa'"),
        ("masks", "", "--to masks needs masks, iugc has points; possible: iugc, yolo-pose"),
        ("head-csv", "", "--to head-csv needs head, iugc has points"),
        ("iugc", "psfhs", "expected image_mha/ and label_mha/"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_written(tmp_path, to, source_format, message):
    source = iugc_folder(tmp_path / "src")
    with pytest.raises(UsageError, match=message):
        convert(source, tmp_path / "out", to, source_format)
    assert nothing_was_written(tmp_path)


@pytest.mark.parametrize("to", ["iugc", "yolo-pose"])
def test_one_bad_row_never_stops_a_conversion(tmp_path, to):
    source = iugc_folder(tmp_path / "src", rows=6)
    (source / "images" / "03.png").unlink()
    (source / "images" / "04.png").write_bytes(b"broken")
    file = source / "labels.csv"
    file.write_text(file.read_text().replace("(30, 25)", "(30; 25"))
    done = convert(source, tmp_path / "out", to)
    assert done.written == 3
    assert [one.name for one in done.skipped] == ["03.png", "04.png", "05.png"]
    assert done.skipped[0].reason.startswith("no picture 03.png")
    assert done.skipped[2].reason.startswith("FH1: expected a point (x, y)")


def test_no_frame_at_all_is_an_error_and_leaves_nothing(tmp_path):
    source = masks_folder(tmp_path / "src", 1)
    save(source / "masks" / "00.png", mask(0, 0))
    with pytest.raises(UsageError, match=r"no frame of 1 could be converted to iugc; the first: 00\.png"):
        convert(source, tmp_path / "out", "iugc")
    assert nothing_was_written(tmp_path)


def test_an_unknown_folder_is_told_everything_that_was_looked_for(tmp_path):
    (tmp_path / "src").mkdir()
    with pytest.raises(UsageError, match=r"looked for iugc: .*hc18: .*loaddata\.m with data/; .*name it with --from"):
        convert(tmp_path / "src", tmp_path / "out", "iugc")
    with pytest.raises(UsageError, match="found nothing there"):
        convert(tmp_path / "none", tmp_path / "out", "iugc")


def test_a_finished_folder_is_only_replaced_when_asked(tmp_path):
    source = iugc_folder(tmp_path / "src")
    convert(source, tmp_path / "out", "yolo-pose")
    before = tree(tmp_path / "out")
    with pytest.raises(UsageError, match="add --overwrite"):
        convert(source, tmp_path / "out", "iugc")
    assert tree(tmp_path / "out") == before
    convert(source, tmp_path / "out", "iugc", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images", "labels.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "src"]


def test_overwriting_never_takes_the_source_or_foreign_files(tmp_path):
    source = iugc_folder(tmp_path / "src")
    with pytest.raises(UsageError, match="would remove the source"):
        convert(source, source, "iugc", overwrite=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"found 'thesis\.tex'"):
        convert(source, tmp_path / "home", "iugc", overwrite=True)
    assert (tmp_path / "home" / "thesis.tex").exists()


def test_an_error_while_replacing_leaves_the_old_folder(tmp_path):
    source = iugc_folder(tmp_path / "src")
    convert(source, tmp_path / "out", "iugc")
    before = tree(tmp_path / "out")
    for picture_file in (source / "images").iterdir():
        picture_file.unlink()
    with pytest.raises(UsageError, match="no frame of 4 could be converted"):
        convert(source, tmp_path / "out", "iugc", overwrite=True)
    assert tree(tmp_path / "out") == before


def test_the_source_is_left_as_it_was(tmp_path):
    source = iugc_folder(tmp_path / "src")
    before = tree(source)
    for to in ("iugc", "yolo-pose"):
        convert(source, tmp_path / to, to)
    assert tree(source) == before


def test_the_same_conversion_gives_the_same_bytes(tmp_path):
    source = iugc_folder(tmp_path / "src", rows=8)
    for name in ("a", "b"):
        convert(source, tmp_path / name, "yolo-pose", holdout=Holdout(0.3, 5))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_pictures_of_the_same_name_in_sub_folders_stay_apart(tmp_path):
    source = tmp_path / "src"
    lines = ["Filename,PS1,PS2,FH1"]
    for i, name in enumerate(("p1/1.png", "p2/1.png")):
        save(source / name, picture(i))
        lines.append(f'{name},"(30, 10)","(10, 10)","(30, {20 + i})"')
    (source / "labels.csv").write_text("\n".join(lines) + "\n")
    convert(source, tmp_path / "out", "iugc")
    frames = read_labels(tmp_path / "out" / "labels.csv", tmp_path / "out")
    assert [frame.name for frame in frames] == ["p1__1.png", "p2__1.png"]
    assert frames[1].path.read_bytes() == (source / "p2" / "1.png").read_bytes()


def test_a_volume_of_two_files_becomes_one_and_an_unreadable_one_is_left_out(tmp_path):
    header = "ObjectType = Image\nNDims = 3\nElementSpacing = 1 2 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\n"
    for name in "ab":
        (tmp_path / f"{name}.mhd").write_text(f"{header}ElementDataFile = {name}.raw\n")
    (tmp_path / "a.raw").write_bytes(bytes(range(8)))
    (tmp_path / "labels.csv").write_text("Filename,tip_i,tip_j,tip_k\na.mhd,0,1,0\nb.mhd,0,1,0\n")
    done = convert(tmp_path / "labels.csv", tmp_path / "out", "points-3d")
    assert (tmp_path / "out" / "labels.csv").read_text() == "Filename,tip_i,tip_j,tip_k\na.mha,0,1,0\n"
    volume = read_volume(tmp_path / "out" / "volumes" / "a.mha")
    assert (volume.spacing.tolist(), volume.voxels[1, 0, 1]) == ([1, 2, 3], 5)
    assert [skipped.name for skipped in done.skipped] == ["b.mhd"]
