"""Files of the ward, measured: the region that holds the anatomy, its millimetres, and nothing of the patient."""

import json
import stat
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from aop_pose.cli.main import run
from aop_pose.errors import UsageError
from aop_pose.io.clinic.study import SALT, Salt
from aop_pose.io.clinic.video import Selection
from aop_pose.io.table import read_results
from aop_pose.measuring.folder import predict
from tests.dicom_files import DATE, MARK, PIXEL, PREFIX, UID_ROOT, dataset, marked, marked_leaks, region, save
from tests.fakes import POINTS, fake_predictor, textured
from tests.video_files import save_video

BOX = (40, 30, 295, 285)
"""First and last pixels of the 256 x 256 that hold the fake anatomy."""


def screen(height: int = 520, width: int = 600, around: int = 137) -> np.ndarray:
    pixels = np.full((height, width), around, np.uint8)
    pixels[30:286, 40:296] = textured(0)
    return pixels


def rows_of(source: Path, out: Path, **options: object) -> list[dict[str, str]]:
    predict(fake_predictor(), source, out, **options)  # type: ignore[arg-type]
    return read_results(out / "results.csv")


def test_points_are_in_pixels_of_the_file_and_millimetres_are_those_of_the_region(tmp_path: Path) -> None:
    tissue, trace = region(BOX, (-0.03, 0.02)), region((0, 400, 599, 519), (0.01, 0.0), units=(4, 0), kind=4)
    save(tmp_path / "IM1", dataset(screen(), regions=[trace, tissue]))
    (row,) = rows_of(tmp_path / "IM1", tmp_path / "out", overlay=False)
    assert (row["status"], row["PS1_x"], row["PS1_y"]) == ("ok", "190.0000", "90.0000")
    assert (row["spacing_x_mm"], row["spacing_y_mm"]) == ("0.3", "0.2")
    assert [row[f"region_{name}"] for name in "xywh"] == ["40", "30", "256", "256"]
    # By hand: PS1 to PS2 is (-70, 20) pixels = (-21, 4) mm, PS1 to FH1 is (20, 60) pixels = (6, 12) mm.
    # cos = (-21 * 6 + 4 * 12) / (21.37756 * 13.41641) = -0.271957, so 105.7808 degrees; on square pixels 92.49.
    assert float(row["aop_deg"]) == pytest.approx(105.7808, abs=2e-4)
    assert row["hsd_mm"] == ""


def test_of_two_pictures_the_one_that_holds_the_anatomy_is_measured(tmp_path: Path) -> None:
    """The fake network finds nothing where the first row is dark."""
    pixels = np.zeros((300, 600), np.uint8)
    pixels[20:276, 20:276] = textured(1, first_row=10)
    pixels[20:276, 320:576] = textured(2)
    sides = [region((20, 20, 275, 275), (0.01, 0.01)), region((320, 20, 575, 275), (0.05, 0.05))]
    save(tmp_path / "IM1", dataset(pixels, regions=sides))
    (row,) = rows_of(tmp_path / "IM1", tmp_path / "out")
    assert (row["status"], row["region_x"], row["spacing_x_mm"]) == ("ok", "320", "0.5")
    assert float(row["PS1_x"]) == POINTS[0, 0] + 320


def test_of_two_pictures_that_could_both_be_it_none_is_measured_until_one_is_named(tmp_path: Path) -> None:
    pixels = np.zeros((300, 600), np.uint8)
    pixels[20:276, 20:276] = pixels[20:276, 320:576] = textured(2)
    sides = [region((20, 20, 275, 275), (0.01, 0.01)), region((320, 20, 575, 275), (0.05, 0.05))]
    save(tmp_path / "IM1", dataset(pixels, regions=sides))
    (row,) = rows_of(tmp_path / "IM1", tmp_path / "out")
    assert (row["status"], row["aop_deg"], row["PS1_x"], row["region_x"]) == ("abstained", "", "", "")
    assert row["reason"] == ("two images, give --region: 20,20,256,256 or 320,20,256,256 could each be measured")
    (row,) = rows_of(tmp_path / "IM1", tmp_path / "named", region="320,20,256,256")
    assert (row["status"], row["spacing_x_mm"]) == ("ok", "0.5")


def test_a_typed_region_has_millimetres_where_the_region_of_the_file_holds_it(tmp_path: Path) -> None:
    save(tmp_path / "IM1", dataset(screen(), regions=[region((40, 30, 400, 400))]))
    (row,) = rows_of(tmp_path / "IM1", tmp_path / "inside", region="40,30,256,256")
    assert row["spacing_x_mm"] == "0.2"
    (row,) = rows_of(tmp_path / "IM1", tmp_path / "across", region="39,30,256,256")
    assert (row["status"], row["spacing_x_mm"]) == ("ok", "")


def test_without_a_region_there_are_no_millimetres(tmp_path: Path) -> None:
    save(tmp_path / "IM1", dataset(textured(0), PixelSpacing=["0.3", "0.3"]))
    (row,) = rows_of(tmp_path / "IM1", tmp_path / "out")
    assert (row["status"], row["spacing_x_mm"]) == ("ok", "")


def test_a_pixel_size_against_the_one_of_the_region_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "in" / "IM1", dataset(textured(0), regions=[region((0, 0, 255, 255))]))
    with pytest.raises(UsageError, match="--pixel-size: 1 of 1 files state their own in their region"):
        rows_of(tmp_path / "in", tmp_path / "out", pixel_size="0.2")
    assert not (tmp_path / "out").exists()
    save(tmp_path / "in" / "IM1", dataset(textured(0), regions=[region((0, 0, 255, 255), units=(0, 0))]))
    (row,) = rows_of(tmp_path / "in", tmp_path / "out", pixel_size="0.2")
    assert row["spacing_x_mm"] == "0.2"


def test_a_cine_has_a_row_a_frame_with_number_and_time(tmp_path: Path) -> None:
    frames = np.stack([np.roll(textured(0), number, axis=1) for number in range(7)])
    save(tmp_path / "in" / "IM1", dataset(frames, frames=7, FrameTime="50", regions=[region((0, 0, 255, 255))]))
    save_video(tmp_path / "in" / "clip.avi", list(frames), 20.0)
    rows = rows_of(tmp_path / "in", tmp_path / "out", selection=Selection(every=3))
    assert [(row["index"], row["time_s"]) for row in rows] == [("0", "0.0000"), ("3", "0.1500"), ("6", "0.3000")] * 2
    assert {row["source"] for row in rows} == {"clip.avi", Salt.of(tmp_path / "out").name(PREFIX + "1")}


def test_a_cine_is_resumed_in_its_middle(tmp_path: Path) -> None:
    frames = np.stack([np.roll(textured(0), number, axis=1) for number in range(6)])
    save(tmp_path / "IM1", dataset(frames, frames=6, FrameTime="50"))
    whole = rows_of(tmp_path / "IM1", tmp_path / "out")
    document = json.loads((tmp_path / "out" / "results.json").read_text())["run"]
    (tmp_path / "out" / ".started.json").write_text(json.dumps(document))
    (tmp_path / "out" / "results.json").unlink()
    table = tmp_path / "out" / "results.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:4]))
    assert rows_of(tmp_path / "IM1", tmp_path / "out") == whole


def test_options_of_cines_are_refused_for_volumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["predict", str(tmp_path), "--out", str(tmp_path / "o"), "--from", "3", "--to", "1"])
    assert code == 2
    assert "--to: expected a time behind --from 3" in capsys.readouterr().err


# --- nothing of the patient -------------------------------------------------------------------------------------------


def test_nothing_of_the_patient_is_in_what_a_run_writes_or_says(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in" / f"{MARK}_{DATE}"
    save(source / f"{MARK}.dcm", marked(dataset(screen(around=PIXEL), regions=[region(BOX)])))
    two = marked(dataset(screen(around=PIXEL), regions=[region(BOX), region((310, 30, 565, 285))]))
    two.SOPInstanceUID = UID_ROOT + "100"
    save(source / "two" / f"{MARK}", two)
    none = marked(dataset(screen(around=PIXEL)))
    none.SOPInstanceUID = UID_ROOT + "101"
    save(source / f"none_{MARK}.dcm", none)
    broken = source / f"broken_{MARK}.dcm"
    broken.write_bytes((source / f"{MARK}.dcm").read_bytes()[:-70000])
    (source / f"{MARK}_damaged.dcm").write_bytes(bytes(128) + b"DICM" + f"{MARK} {DATE}".encode() * 50)
    sizes = tmp_path / f"{MARK}.csv"
    sizes.write_text(f"Filename,pixel_size_mm\nnone_{MARK}.dcm,0.2\n")
    out = tmp_path / "out"
    assert run(["predict", str(source), "--out", str(out), "--pixel-size", str(sizes)]) == 3
    printed = capfd.readouterr()
    assert MARK not in printed.out + printed.err
    assert [row["status"] for row in read_results(out / "results.csv")].count("unreadable") == 2
    assert marked_leaks(out) == []
    pictures = list((out / "overlays").rglob("*.png"))
    assert len(pictures) == 3
    for path in pictures:
        drawn = cv2.imread(str(path))[:520]
        drawn[30:286, 40:296] = drawn[30:286, 310:566] = 0
        # Rims of letters may have any gray.
        assert (drawn == PIXEL).all(axis=-1).sum() < 20, path
    assert stat.S_IMODE((out / SALT).stat().st_mode) == 0o600


def test_a_map_of_names_is_written_on_request_for_its_owner_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "in" / "Miller.dcm", dataset(textured(0)))
    out, listed = tmp_path / "out", tmp_path / "map.csv"
    (row,) = rows_of(path, out, private_map=listed)
    assert stat.S_IMODE(listed.stat().st_mode) == 0o600
    assert listed.read_text() == f"source,path,member,sop\n{row['source']},{path},,{PREFIX}1\n"
    cv2.imwrite(str(tmp_path / "a.png"), textured(0))
    with pytest.raises(UsageError, match="no file has a hash for a name"):
        rows_of(tmp_path / "a.png", tmp_path / "other", private_map=listed)


def test_without_the_extra_dicom_files_have_rows_that_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "in" / "IM1", dataset(textured(0)))
    cv2.imwrite(str(tmp_path / "in" / "a.png"), textured(0))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    rows = rows_of(tmp_path / "in", tmp_path / "out")
    assert [row["status"] for row in rows] == ["unreadable", "ok"]
    assert rows[0]["reason"] == "DICOM cannot be read; install what DICOM needs: pip install 'aop-pose[dicom]'"
    assert "IM1" not in rows[0]["source"]


def test_millimetres_are_those_of_each_file(tmp_path: Path) -> None:
    for number, delta in enumerate((0.02, 0.03, -0.04)):
        deltas = (delta, delta)
        made = dataset(textured(0), sop=str(number), regions=[region((0, 0, 255, 255), deltas)])
        save(tmp_path / "in" / str(number), made)
    assert [row["spacing_x_mm"] for row in rows_of(tmp_path / "in", tmp_path / "out")] == ["0.2", "0.3", "0.4"]


def test_identifiers_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    save(tmp_path / "in" / "Miller.dcm", marked(dataset(screen(around=PIXEL), regions=[region(BOX)])))
    (row,) = rows_of(tmp_path / "in", tmp_path / "out", keep_identifiers=True)
    assert (row["source"], row["sop"]) == ("Miller.dcm", UID_ROOT + "991")
    assert json.loads((tmp_path / "out" / "results.json").read_text())["run"]["sources"] == [str(tmp_path / "in")]
    assert not (tmp_path / "out" / SALT).exists()
    drawn = cv2.imread(str(tmp_path / "out" / "overlays" / "Miller@dcm.png"))
    assert (drawn == PIXEL).all(axis=-1).any()


def test_a_second_run_with_the_salt_gives_the_same_names(tmp_path: Path) -> None:
    save(tmp_path / "IM1", dataset(textured(0)))
    first = rows_of(tmp_path / "IM1", tmp_path / "out")
    assert rows_of(tmp_path / "IM1", tmp_path / "out", overwrite=True) == first
    assert rows_of(tmp_path / "IM1", tmp_path / "other")[0]["source"] != first[0]["source"]
