"""Reports as other people's readers see them: the same numbers, the right frame, and the patient only where asked."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import attrs
import cv2
import numpy as np
import pytest

from aop_pose.cli.main import run
from aop_pose.core.schemas import AOP
from aop_pose.draw.frame import overlay_name
from aop_pose.io.clinic.study import Salt
from aop_pose.io.table import read_results
from aop_pose.measuring.folder import predict
from tests.dicom_files import PREFIX, dataset, marked, marked_leaks, pydicom, region, save
from tests.fakes import POINTS, fake_predictor, textured
from tests.trust.test_intervals import calibration

pytest.importorskip("highdicom", reason="writing reports needs the extra dicom")

BOX = (40, 30, 295, 285)
STUDY = {
    "PatientName": "Miller^Ann", "PatientID": "77", "StudyDate": "20260102", "StudyTime": "101010", "StudyID": "4",
    "PatientBirthDate": "19900101", "PatientSex": "F", "AccessionNumber": "5", "ReferringPhysicianName": "",
}  # fmt: skip


def screen(seed: int = 0) -> np.ndarray:
    pixels = np.full((400, 500), 137, np.uint8)
    pixels[30:286, 40:296] = textured(seed)
    return pixels


def calibrated() -> Any:
    model = fake_predictor()
    return attrs.evolve(model, contract=model.contract.model_copy(update={"calibration": calibration()}))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a still and a cine of three frames, measured, and its reports."""
    folder = tmp_path_factory.mktemp("report")
    save(folder / "in" / "still", dataset(screen(), regions=[region(BOX)], **STUDY))
    cine = np.stack([screen(1), np.full((400, 500), 90, np.uint8), screen(2)])
    save(folder / "in" / "cine", dataset(cine, frames=3, FrameTime="40", regions=[region(BOX)], sop="2", **STUDY))
    predict(calibrated(), folder / "in", folder / "out")
    arguments = ["report", str(folder / "out"), "--frames", str(folder / "in"), "--dicom", str(folder / "dicom")]
    assert run(arguments) == 0
    return folder


def of_file(measured: Path, sop: str, end: str) -> tuple[Any, list[dict[str, str]]]:
    name = Salt.of(measured / "out").name(PREFIX + sop)
    rows = [row for row in read_results(measured / "out" / "results.csv") if row["source"] == name]
    return pydicom.dcmread(measured / "dicom" / f"{name}_{end}.dcm"), rows


def items(tree: Any, value_type: str) -> list[Any]:
    found = [tree] if tree.get("ValueType") == value_type else []
    for item in tree.get("ContentSequence", []):
        found += items(item, value_type)
    return found


def numbers(tree: Any, code: str) -> list[Any]:
    return [item for item in items(tree, "NUM") if item.ConceptNameCodeSequence[0].CodeValue == code]


def number(item: Any) -> tuple[float, str]:
    value = item.MeasuredValueSequence[0]
    return float(value.NumericValue), value.MeasurementUnitsCodeSequence[0].CodeValue


def test_the_report_says_what_the_table_says(measured: Path) -> None:
    report, (row,) = of_file(measured, "1", "sr")
    (angle,) = numbers(report, "AOP")
    assert angle.ConceptNameCodeSequence[0].CodingSchemeDesignator == "99AOPPOSE"
    assert number(angle) == (pytest.approx(float(row["aop_deg"]), abs=1e-4), "deg")
    (upper,), (lower,) = (numbers(angle, code) for code in ("371886008", "371885007"))
    value, low, high = (float(row[f"aop_{name}"]) for name in ("deg", "low", "high"))
    assert number(upper) == (pytest.approx(high - value, abs=2e-4), "1")
    assert number(lower) == (pytest.approx(value - low, abs=2e-4), "1")
    (comment,) = [text.TextValue for text in items(report, "TEXT") if "research" in text.TextValue]
    assert f"90 % interval from {low:.1f} to {high:.1f} degrees" in comment
    assert numbers(report, "HSD") == []
    said = {text.ConceptNameCodeSequence[0].CodeMeaning: text.TextValue for text in items(report, "TEXT")}
    assert (said["Algorithm Name"], said["Algorithm Version"]) == ("aop-pose fake", "00000000")
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_the_line_lies_on_its_frame_counted_from_the_corner_of_the_first_pixel(measured: Path) -> None:
    report, _ = of_file(measured, "1", "sr")
    (line,) = items(report, "SCOORD")
    # PS2, PS1, FH1 of the region at 40, 30, and half a pixel to its centre.
    expected = POINTS[[1, 0, 2]] + [40.5, 30.5]
    np.testing.assert_allclose(np.reshape(line.GraphicData, (3, 2)), expected)
    assert line.GraphicType == "POLYLINE"
    reference = line.ContentSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == PREFIX + "1"
    assert "ReferencedFrameNumber" not in reference


def test_a_cine_has_a_group_for_each_measured_frame(measured: Path) -> None:
    report, rows = of_file(measured, "2", "sr")
    assert [row["status"] for row in rows] == ["ok", "abstained", "ok"]
    lines = items(report, "SCOORD")
    frames = [line.ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber for line in lines]
    assert frames == [1, 3]
    assert len(numbers(report, "AOP")) == 2


def test_the_report_belongs_to_the_patient_and_the_study(measured: Path) -> None:
    for end in ("sr", "sc"):
        made, _ = of_file(measured, "1", end)
        assert (made.PatientID, made.PatientName, made.StudyInstanceUID) == ("77", "Miller^Ann", PREFIX + "7")
        assert (made.AccessionNumber, made.StudyDate) == ("5", "20260102")


def test_the_picture_is_the_overlay_of_the_best_frame(measured: Path) -> None:
    made, rows = of_file(measured, "2", "sc")
    reference = made.SourceImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == PREFIX + "2"
    best = int(reference.ReferencedFrameNumber) - 1
    assert best in (0, 2)
    drawn = cv2.imread(str(measured / "out" / "overlays" / overlay_name(rows[0]["source"], best)))
    np.testing.assert_array_equal(made.pixel_array, drawn[..., ::-1])
    assert (made.BurnedInAnnotation, made.ConversionType, made.Laterality) == ("NO", "WSD", "")


def test_highdicom_reads_its_measurements_back(measured: Path) -> None:
    from highdicom.sr import ComprehensiveSR, srread

    name = Salt.of(measured / "out").name(PREFIX + "1")
    report = srread(measured / "dicom" / f"{name}_sr.dcm")
    assert isinstance(report, ComprehensiveSR)
    (group,) = report.content.get_image_measurement_groups()
    (one,) = group.get_measurements()
    assert (one.name.meaning, one.unit.meaning) == ("Angle of progression", "degree")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dicom3tools")
def test_dciodvfy_finds_no_error(measured: Path) -> None:
    for path in sorted((measured / "dicom").iterdir()):
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr.splitlines()
        assert [line for line in said if line.startswith("Error")] == []
        doubts = [line for line in said if line.startswith("Warning") and "SR" in path.name and "99AOPPOSE" not in line]
        assert doubts == []


@pytest.mark.skipif(shutil.which("Orthanc") is None, reason="needs Orthanc")
def test_orthanc_takes_report_and_picture(measured: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "HttpPort": port, "DicomServerEnabled": False, "StorageDirectory": str(tmp_path / "db"),
        "IndexDirectory": str(tmp_path / "db"), "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "Plugins": [],
    }  # fmt: skip
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    peer = subprocess.Popen(
        ["Orthanc", tmp_path / "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        names = []
        for path in sorted((measured / "dicom").iterdir()):
            asked = urllib.request.Request(f"http://127.0.0.1:{port}/instances", path.read_bytes(), method="POST")
            for _ in range(100):
                try:
                    with urllib.request.urlopen(asked, timeout=10) as answer:
                        names.append(json.load(answer)["ID"])
                    break
                except OSError:
                    time.sleep(0.2)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/studies?expand", timeout=10) as answer:
            (study,) = json.load(answer)
        assert study["MainDicomTags"]["StudyInstanceUID"] == PREFIX + "7"
        assert len(set(names)) == 4
    finally:
        peer.terminate()
        peer.wait(20)


def test_a_deidentified_report_says_nothing_of_the_patient(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "in" / "XMARKX", marked(dataset(screen(), regions=[region(BOX)])))
    predict(fake_predictor(), tmp_path / "in", tmp_path / "out")
    arguments = ["report", str(tmp_path / "out"), "--frames", str(tmp_path / "in"), "--dicom"]
    assert run([*arguments, str(tmp_path / "kept")]) == 0
    assert marked_leaks(tmp_path / "kept") != []
    capfd.readouterr()
    assert run([*arguments, str(tmp_path / "clean"), "--deidentify"]) == 0
    assert marked_leaks(tmp_path / "clean") == []
    assert "nothing of the patient" in capfd.readouterr().out
    for path in (tmp_path / "clean").iterdir():
        assert pydicom.dcmread(path).PatientIdentityRemoved == "YES"
        assert pydicom.dcmread(path).ContentDate == "19000101"


def test_files_that_are_not_found_again_are_said(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "some").mkdir()
    shutil.copy(measured / "in" / "still", tmp_path / "some" / "renamed")
    out = ["report", str(measured / "out"), "--frames", str(tmp_path / "some"), "--dicom", str(tmp_path / "dicom")]
    assert run(out) == 0
    said = capsys.readouterr()
    assert "1 reports, 1 pictures" in said.out
    assert "1 measured files are not found in" in said.err
    save(tmp_path / "other" / "x", dataset(screen(), sop="9", **STUDY))
    assert run([*out[:3], str(tmp_path / "other"), "--dicom", str(tmp_path / "none")]) == 2
    assert "none of 2 measured files is found again" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_run_that_kept_identifiers_is_found_by_its_uids(measured: Path, tmp_path: Path) -> None:
    predict(fake_predictor(), measured / "in", tmp_path / "out", keep_identifiers=True, overlay=False)
    out = ["report", str(tmp_path / "out"), "--frames", str(measured / "in"), "--dicom", str(tmp_path / "dicom")]
    assert run(out) == 0
    assert len(list((tmp_path / "dicom").glob("*_sr.dcm"))) == 2
    assert list((tmp_path / "dicom").glob("*_sc.dcm")) == []


def test_head_symphysis_distance_is_in_millimetres(tmp_path: Path) -> None:
    from aop_pose.clinic.report import NAMES

    assert set(NAMES) <= {quantity.column for quantity in AOP.quantities}
    save(tmp_path / "in" / "a", dataset(screen(), regions=[region(BOX)], **STUDY))
    predict(fake_predictor(), tmp_path / "in", tmp_path / "out")
    table = tmp_path / "out" / "results.csv"
    head, line = table.read_text().splitlines()
    cells = dict(zip(head.split(","), line.split(","), strict=True)) | {"hsd_mm": "23.5000", "hsd_mm_low": "20.0000",
                                                                       "hsd_mm_high": "28.0000"}  # fmt: skip
    table.write_text(f"{head}\n{','.join(cells.values())}\n")
    assert run(["report", str(tmp_path / "out"), "--frames", str(tmp_path / "in"), "--dicom", str(tmp_path / "d")]) == 0
    report = pydicom.dcmread(next((tmp_path / "d").glob("*_sr.dcm")))
    (distance,) = numbers(report, "HSD")
    assert number(distance) == (23.5, "mm")
    assert number(numbers(distance, "371886008")[0]) == (4.5, "1")


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path), "--frames", str(tmp_path), "--dicom", str(tmp_path / "d")]) == 2
    assert "expected the folder of a run of aop-pose predict" in capsys.readouterr().err
