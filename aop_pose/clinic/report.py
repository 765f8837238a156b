"""Measurements as a PACS keeps them: a structured report (TID 1500) and the overlay as a secondary capture.

No standard code exists for AoP and HSD: they are ``99AOPPOSE``, with the names of the ISUOG guideline (Ultrasound
Obstet Gynecol 2018;52:128).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import attrs
import cv2
import numpy as np

from aop_pose import __version__
from aop_pose.clinic.cine import Trace, best_frame
from aop_pose.clinic.deidentify import made_anew
from aop_pose.core.keypoints import to_edges
from aop_pose.core.results import points_of
from aop_pose.core.schemas import AOP
from aop_pose.draw.frame import overlay_name
from aop_pose.errors import RESEARCH_USE, UnreadableError, UsageError
from aop_pose.io.clinic.dicom import INSTALL, quiet
from aop_pose.io.clinic.study import SALT, Salt, expand, find_again, opened
from aop_pose.io.discover import Entry, discover
from aop_pose.io.folders import DOCUMENT, OVERLAYS, TABLE, appearing
from aop_pose.io.table import iter_results, read_facts, standing

SCHEME = "99AOPPOSE"
NAMES = {"aop_deg": ("AOP", "Angle of progression"), "hsd_mm": ("HSD", "Head-symphysis distance")}
"""Column -> code value and meaning in ``SCHEME``."""
_UNITS = {"deg": ("deg", "degree"), "mm": ("mm", "millimeter")}
_SECONDARY_CAPTURE, _COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.88.33"
_LINE = ("PS2", "PS1", "FH1")
_SR_SERIES, _SC_SERIES = 9001, 9002
_PATIENT = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName")
_UNSAID_DATE, _UNSAID_TIME = "19000101", "000000"

Row = Mapping[str, str]


@attrs.frozen
class Reported:
    """The outcome of a run."""

    reports: int
    captures: int
    notes: list[str]
    """One line each: rows of which there is no report."""


def write_reports(
    results: str | Path,
    frames: str | Path,
    out: str | Path,
    deidentified: bool = False,
    only: Collection[str] | None = None,
) -> Reported:
    """Write ``NAME_sr.dcm`` and ``NAME_sc.dcm`` into the new folder ``out`` for each DICOM file with measured frames.

    Args:
        results: folder of a run of ``predict``; its salt finds the files again.
        frames: the DICOM files that were measured: a folder, a file, a DICOMDIR or a zip.
        deidentified: by the basic profile of PS3.15; else the reports belong to the patient's record, and say so.
        only: sources of the rows that are wanted; None = all.

    Raises:
        UsageError: no results, no file of them found again, or what writing needs is not installed.
    """
    results = Path(results)
    if not standing(results / TABLE).is_file():
        raise UsageError(f"expected the folder of a run of aop-pose predict, found no {TABLE} in {results}")
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise UsageError(f"reports cannot be written; {INSTALL}") from None
    files = find_again(expand(discover([frames]).entries), results)
    coverage, private = (read_facts(results / DOCUMENT) or {}).get("coverage"), (results / SALT).is_file()
    done, captures, lost, without, salt, notes = 0, 0, 0, 0, Salt.of(results), list[str]()
    with appearing(Path(out), overwrite=False) as folder:
        for source, rows in _measured(results / TABLE):
            if only is not None and source not in only:
                continue
            entry = files.get(source if private else rows[0].get("sop", ""))
            if entry is None:
                lost += 1
                continue
            name = salt.name(source) if not private else source
            try:
                report = _Report(_header(entry, salt if deidentified else None), rows, coverage, deidentified)
                _save(report.structured(), folder / f"{name}_sr.dcm")
            except UnreadableError as error:
                notes.append(f"no report of {name}: {error}")
                continue
            done += 1
            picture = results / OVERLAYS / overlay_name(source, int(report.best["index"]))
            if picture.is_file():
                _save(report.capture(picture, burned_in=not private), folder / f"{name}_sc.dcm")
                captures += 1
            else:
                without += 1
        if not done:
            if notes:
                raise UsageError(notes[0])
            raise UsageError(
                f"none of {lost} measured files is found again in {frames}; name the DICOM files that were measured"
                if lost
                else f"no measured frame of a DICOM file in {results}"
            )
    notes += [f"{lost} measured files are not found in {frames}"] if lost else []
    notes += [f"{without} overlays are missing, so there is no secondary capture of them"] if without else []
    return Reported(done, captures, notes)


def _measured(table: Path) -> Iterator[tuple[str, list[Row]]]:
    """Source and measured rows of each file of an AoP table that has any."""
    for source, several in groupby(iter_results(table), lambda row: row["source"]):
        rows: list[Row] = [row for row in several if row["status"] == "ok"]
        if rows and "aop_deg" not in rows[0]:
            raise UsageError(f"{table}: reports are of AoP; this table is of another schema")
        if rows:
            yield source, rows


def _header(entry: Entry, salt: Salt | None) -> Any:
    """The header of a file without its pixels; by the basic profile where a salt is given."""
    with opened(entry) as stream, quiet() as pydicom:
        header = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
        if not header.get("SOPInstanceUID") or not header.get("StudyInstanceUID"):
            raise UnreadableError("a report needs the UIDs of its study and its file, and the header has none")
        if salt is not None:
            anew = made_anew(header, salt, pydicom)
            anew.SOPClassUID = header.SOPClassUID
            anew.Rows, anew.Columns = header.Rows, header.Columns
            if header.get("NumberOfFrames"):
                anew.NumberOfFrames = header.NumberOfFrames
            return anew
        for name in (*_PATIENT, *_STUDY):
            if name not in header:
                setattr(header, name, None)
        if header.PatientSex not in ("M", "F", "O"):
            header.PatientSex = None
        return header


def _save(made: Any, path: Path) -> None:
    with quiet() as pydicom:
        pydicom.dcmwrite(path, made, enforce_file_format=True, implicit_vr=False, little_endian=True)


@attrs.frozen(eq=False)
class _Report:
    """The measured rows of one file, and the header that they belong to."""

    source: Any
    rows: Sequence[Row]
    coverage: float | None
    """Share of intervals that hold the true value."""
    deidentified: bool

    @property
    def best(self) -> Row:
        """The row of the frame to look at first."""
        found = best_frame(Trace.of(self.rows))
        return self.rows[found.at if found is not None else 0]

    def structured(self) -> Any:
        """The report: Comprehensive SR by TID 1500, a measurement group (TID 1501) a measured frame."""
        with quiet():
            from highdicom import sr
            from pydicom.sr.codedict import codes
            from pydicom.uid import generate_uid

            model, _, version = self.rows[0]["model"].partition("@")
            device = sr.DeviceObserverIdentifyingAttributes(
                uid=generate_uid(entropy_srcs=[self.rows[0]["model"]]), name="aop-pose", manufacturer_name="aop-pose",
                model_name=model or "unknown",
            )  # fmt: skip
            observer = sr.ObserverContext(codes.DCM.Device, device)
            content = sr.MeasurementReport(
                observation_context=sr.ObservationContext(observer_device_context=observer),
                procedure_reported=sr.CodedConcept("TPUS", SCHEME, "Intrapartum transperineal ultrasound"),
                imaging_measurements=[self._group(row, model, version, sr, codes) for row in self.rows],
                title=codes.DCM.ImagingMeasurementReport,
            )
            made = sr.ComprehensiveSR(
                evidence=[self.source], content=content, series_instance_uid=generate_uid(), series_number=_SR_SERIES,
                sop_instance_uid=generate_uid(), instance_number=1, manufacturer="aop-pose", is_complete=True,
            )  # fmt: skip
            made.SeriesDescription = f"AoP, {RESEARCH_USE}"[:64]
            self._describe(made)
            return made

    def _group(self, row: Row, model: str, version: str, sr: Any, codes: Any) -> Any:
        frame = [int(row["index"]) + 1] if self.source.get("NumberOfFrames") else None
        image = (self.source.SOPClassUID, self.source.SOPInstanceUID, frame)
        points = dict(zip(AOP.points, points_of(row, AOP, "results"), strict=True))
        # DICOM counts from the corner of the first pixel, these coordinates from its centre.
        line = to_edges(np.array([points[name] for name in _LINE]))
        algorithm = sr.AlgorithmIdentification(
            name=f"aop-pose {model}".strip(), version=version or __version__, parameters=[f"aop-pose {__version__}"]
        )
        group = sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(identifier=f"frame {row['index']}"),
            algorithm_id=algorithm,
            measurements=[
                self._measurement(row, column, line, image, sr, codes) for column in NAMES if row.get(column)
            ],
            source_images=[sr.SourceImageForMeasurementGroup(*image)],
        )
        if text := self._interval_in_words(row):
            group[0].ContentSequence.append(
                sr.TextContentItem(codes.DCM.Comment, text, sr.RelationshipTypeValues.CONTAINS)
            )
        return group

    def _measurement(self, row: Row, column: str, line: np.ndarray, image: Any, sr: Any, codes: Any) -> Any:
        value, meaning = NAMES[column]
        unit = sr.CodedConcept(_UNITS[column[-3:].strip("_")][0], "UCUM", _UNITS[column[-3:].strip("_")][1])
        low, high = _interval(row, column)
        number = float(row[column])
        # TID 310 counts the way from the value to the ends, without a unit of its own.
        ends = {"upper_measurement_uncertainty": round(high - number, 4),
                "lower_measurement_uncertainty": round(number - low, 4)}  # fmt: skip
        return sr.Measurement(
            name=sr.CodedConcept(value, SCHEME, meaning),
            value=number,
            unit=unit,
            properties=sr.MeasurementProperties(**ends) if math.isfinite(low) and math.isfinite(high) else None,
            referenced_coordinates=[
                sr.CoordinatesForMeasurement(
                    sr.GraphicTypeValues.POLYLINE, line.astype(np.float32), sr.SourceImageForRegion(*image)
                )
            ],
        )

    def _interval_in_words(self, row: Row) -> str:
        words = [RESEARCH_USE]
        for column, (_, meaning) in NAMES.items():
            low, high = _interval(row, column)
            if row.get(column) and math.isfinite(low) and math.isfinite(high):
                level = "" if self.coverage is None else f"{100 * self.coverage:g} % "
                unit = "degrees" if column == "aop_deg" else "mm"
                words.append(f"{meaning}: {level}interval from {low:.1f} to {high:.1f} {unit}.")
        return " ".join(words)

    def capture(self, picture: Path, burned_in: bool) -> Any:
        """The overlay of the best frame as a Secondary Capture of the same study."""
        colours = cv2.cvtColor(np.asarray(cv2.imread(str(picture))), cv2.COLOR_BGR2RGB)
        with quiet() as pydicom:
            made = pydicom.Dataset()
            made.file_meta = pydicom.dataset.FileMetaDataset()
            for name in (*_PATIENT, *_STUDY, "SpecificCharacterSet"):
                if name in self.source and (self.source.get(name) or name != "SpecificCharacterSet"):
                    made[name] = self.source[name]
            made.SOPClassUID, made.SOPInstanceUID = _SECONDARY_CAPTURE, pydicom.uid.generate_uid()
            made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
            made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
            made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
            made.Modality, made.SeriesInstanceUID, made.SeriesNumber = "US", pydicom.uid.generate_uid(), _SC_SERIES
            made.SeriesDescription = f"AoP overlay, {RESEARCH_USE}"[:64]
            made.ConversionType, made.InstanceNumber, made.Manufacturer = "WSD", 1, "aop-pose"
            made.Laterality, made.PatientOrientation, made.ImageType = None, None, ["DERIVED", "SECONDARY"]
            made.BurnedInAnnotation = "YES" if burned_in else "NO"
            made.LossyImageCompression = "00"
            made.DerivationDescription = f"points and measurements drawn by aop-pose {__version__}"
            made.SourceImageSequence = [self._reference(pydicom)]
            made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
            made.Rows, made.Columns = colours.shape[:2]
            made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
            made.PixelData = colours.tobytes() + bytes(colours.size % 2)
            made["PixelData"].VR = "OB"
            now = datetime.now()
            made.ContentDate, made.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
            self._describe(made)
            return made

    def _reference(self, pydicom: Any) -> Any:
        reference, purpose = pydicom.Dataset(), pydicom.Dataset()
        reference.ReferencedSOPClassUID = self.source.SOPClassUID
        reference.ReferencedSOPInstanceUID = self.source.SOPInstanceUID
        if self.source.get("NumberOfFrames"):
            reference.ReferencedFrameNumber = int(self.best["index"]) + 1
        purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
        purpose.CodeMeaning = "Source image for image processing operation"
        reference.PurposeOfReferenceCodeSequence = [purpose]
        return reference

    def _describe(self, made: Any) -> None:
        """Mark a report that says nothing of the patient, its own dates among it."""
        if not self.deidentified:
            return
        for name in ("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"):
            made[name] = self.source[name]
        for name, value in (("Date", _UNSAID_DATE), ("Time", _UNSAID_TIME)):
            for part in ("Content", "InstanceCreation", "Series"):
                if f"{part}{name}" in made:
                    setattr(made, f"{part}{name}", value)


def _interval(row: Row, column: str) -> tuple[float, float]:
    stem = {"aop_deg": "aop", "hsd_mm": "hsd_mm"}[column]
    low, high = row.get(f"{stem}_low"), row.get(f"{stem}_high")
    return (float(low), float(high)) if low and high else (math.nan, math.nan)
