"""Copies that are safe to share: nothing of the header, nothing around the region, the same measurements."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from aop_pose.cli.main import run
from aop_pose.core.region import Region
from aop_pose.io.discover import Entry
from aop_pose.io.images import read_frame, read_frames
from aop_pose.io.table import read_results
from aop_pose.measuring.folder import predict
from tests.dicom_files import dataset, marked, marked_leaks, pydicom, region, save
from tests.fakes import fake_predictor, textured
from tests.video_files import save_video

BOX = (40, 30, 295, 285)


def screen() -> np.ndarray:
    pixels = np.full((400, 500), 137, np.uint8)
    pixels[30:286, 40:296] = textured(0)
    return pixels


def copies(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_nothing_of_the_patient_is_in_a_copy(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "XMARKX"
    save(source / "XMARKX.dcm", marked(dataset(screen(), regions=[region(BOX)])))
    cine = np.stack([np.roll(screen(), 0, axis=0) for _ in range(3)])
    save(source / "cine", marked(dataset(cine, frames=3, FrameTime="40", regions=[region(BOX)], sop="2")))
    assert run(["deidentify", str(source), str(tmp_path / "out")]) == 0
    printed = capfd.readouterr()
    assert "XMARKX" not in printed.out + printed.err
    assert marked_leaks(tmp_path / "out") == []
    for path in copies(tmp_path / "out"):
        for frame in read_frames(Entry(path, "a")):
            pixels = frame.pixels.copy()
            np.testing.assert_array_equal(pixels[30:286, 40:296], textured(0))
            pixels[30:286, 40:296] = 0
            assert not pixels.any()


def test_a_copy_is_measured_as_its_original_is(tmp_path: Path) -> None:
    cine = np.stack([screen(), np.roll(screen(), 1, axis=1)])
    made = dataset(cine, frames=2, FrameTimeVector=["0", "40"], regions=[region(BOX, (0.03, 0.02))])
    save(tmp_path / "in" / "a", made)
    assert run(["deidentify", str(tmp_path / "in"), str(tmp_path / "copy")]) == 0
    rows = []
    for name in ("in", "copy"):
        predict(fake_predictor(), tmp_path / name, tmp_path / f"out_{name}", overlay=False)
        rows.append(read_results(tmp_path / f"out_{name}" / "results.csv"))
    for original, copy in zip(*rows, strict=True):
        assert copy | {"source": ""} == original | {"source": ""}
        assert copy["source"] != original["source"]


def test_files_of_one_study_stay_one_study_and_uids_lead_nowhere(tmp_path: Path) -> None:
    for number in "12":
        save(tmp_path / "in" / number, dataset(screen(), sop=number, regions=[region(BOX)], PatientID="7"))
    for name in ("one", "two"):
        run(["deidentify", str(tmp_path / "in"), str(tmp_path / name)])
    first, second = (pydicom.dcmread(path) for path in copies(tmp_path / "one"))
    assert (first.StudyInstanceUID, first.PatientID) == (second.StudyInstanceUID, second.PatientID)
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.StudyInstanceUID != pydicom.dcmread(copies(tmp_path / "two")[0]).StudyInstanceUID
    assert (first.PatientIdentityRemoved, first.BurnedInAnnotation) == ("YES", "NO")
    assert [code.CodeValue for code in first.DeidentificationMethodCodeSequence] == ["113100", "113101"]
    assert ".salt" not in {path.name for path in (tmp_path / "one").iterdir()}


def test_a_file_without_a_region_is_left_out_until_one_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "in" / "a_XMARKX", dataset(screen()))
    save(tmp_path / "in" / "b", dataset(screen(), regions=[region(BOX)], sop="2"))
    assert run(["deidentify", str(tmp_path / "in"), str(tmp_path / "out")]) == 3
    assert "file 1 left out: it names no region" in capsys.readouterr().err
    assert len(copies(tmp_path / "out")) == 1
    assert run(["deidentify", str(tmp_path / "in"), str(tmp_path / "all"), "--region", "40,30,256,256"]) == 0
    assert len(copies(tmp_path / "all")) == 2
    pixels = read_frame(copies(tmp_path / "all")[0]).pixels
    assert Region(40, 30, 256, 256).cut(pixels).any()
    assert not pixels[300:].any()


@pytest.mark.parametrize("region_", ["9,9,9000,9", "whole", "1,2"])
def test_a_region_that_cannot_be_kept_is_refused(
    tmp_path: Path, region_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "a", dataset(screen()))
    assert run(["deidentify", str(tmp_path / "a"), str(tmp_path / "out"), "--region", region_]) == 2
    assert not (tmp_path / "out").exists()


def test_pictures_and_a_folder_that_is_taken_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    assert run(["deidentify", str(tmp_path / "a.png"), str(tmp_path / "out")]) == 2
    assert "expected DICOM files to copy, found none" in capsys.readouterr().err
    save(tmp_path / "b", dataset(screen(), regions=[region(BOX)]))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").touch()
    assert run(["deidentify", str(tmp_path / "b"), str(tmp_path / "taken")]) == 2


def test_a_zip_is_copied_and_a_truncated_cine_is_left_out(tmp_path: Path) -> None:
    cine = np.stack([screen()] * 3)
    whole = save(tmp_path / "whole", dataset(cine, frames=3, regions=[region(BOX)]))
    cut = tmp_path / "cut"
    cut.write_bytes(whole.read_bytes()[:-1000])
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.write(whole, "whole")
        archive.write(cut, "cut")
    assert run(["deidentify", str(tmp_path / "study.zip"), str(tmp_path / "out")]) == 3
    assert [pydicom.dcmread(path).NumberOfFrames for path in copies(tmp_path / "out")] == [3]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dicom3tools")
def test_dciodvfy_finds_no_error_in_a_copy(tmp_path: Path) -> None:
    cine = np.stack([screen()] * 3)
    save(tmp_path / "in" / "a", dataset(cine, frames=3, FrameTime="40", regions=[region(BOX)]))
    save(tmp_path / "in" / "b", dataset(screen(), sop="2", regions=[region(BOX)]))
    run(["deidentify", str(tmp_path / "in"), str(tmp_path / "out")])
    for path in copies(tmp_path / "out"):
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
        assert [line for line in said.splitlines() if line.startswith("Error")] == []


def test_frames_of_a_cine_have_nothing_of_the_patient(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "XMARKX"
    cine = np.stack([screen() for _ in range(7)])
    save(source / "XMARKX.dcm", marked(dataset(cine, frames=7, FrameTime="40", regions=[region(BOX)])))
    save(source / "still", marked(dataset(screen(), regions=[], sop="2")))
    assert run(["dataset", "frames", str(source), str(tmp_path / "out"), "--every", "3"]) == 3
    printed = capfd.readouterr()
    assert "XMARKX" not in printed.out + printed.err.replace(str(tmp_path), "")
    assert "it names no region, and names may be burned in anywhere" in printed.err
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert [name[20:] for name in names] == ["_0000.png", "_0003.png", "_0006.png"]
    assert len({name[:20] for name in names}) == 1
    assert marked_leaks(tmp_path / "out") == []
    for name in names:
        pixels = read_frame(tmp_path / "out" / name).pixels.copy()
        np.testing.assert_array_equal(pixels[30:286, 40:296], textured(0))
        pixels[30:286, 40:296] = 0
        assert not pixels.any()
    # Another run has other names.
    again = ["dataset", "frames", str(source), str(tmp_path / "again"), "--region", "40,30,256,256", "--from", "0.2"]
    assert run(again) == 0
    assert not {name[:20] for name in names} & {path.name[:20] for path in (tmp_path / "again").iterdir()}


def test_frames_of_a_video_keep_its_name_and_say_that_they_are_whole(tmp_path: Path, capsys) -> None:
    (tmp_path / "cines").mkdir()
    save_video(tmp_path / "cines" / "a b.avi", [textured(i) for i in range(5)])
    assert run(["dataset", "frames", str(tmp_path / "cines"), str(tmp_path / "out"), "--every", "2"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"a b_000{i}.png" for i in (0, 2, 4)]
    assert "3 frames of videos or pictures are whole" in capsys.readouterr().err
    assert run(["dataset", "frames", str(tmp_path / "cines"), str(tmp_path / "out")]) == 2
    assert run(["dataset", "frames", str(tmp_path / "none"), str(tmp_path / "x")]) == 2
    assert run(["dataset", "frames", str(tmp_path / "cines"), str(tmp_path / "y"), "--every", "0"]) == 2
