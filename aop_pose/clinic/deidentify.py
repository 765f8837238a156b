"""Copies of DICOM files that say nothing of a patient: the pixels of the region, and a header made anew.

PS3.15, Basic Application Level Confidentiality Profile, with the option Clean Pixel Data. Instead of taking away what
the profile names, nothing is taken over but what the picture needs: numbers of pixels, regions and times.
"""

from __future__ import annotations

import hashlib
import hmac
import shutil
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import attrs
import numpy as np

from aop_pose.core.frame import Frame
from aop_pose.core.region import Region
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.formats.pictures import write_gray
from aop_pose.io.clinic.dicom import open_dicom, parts_of, quiet
from aop_pose.io.clinic.study import Salt, about, expand, holds_dicom, opened, renamed
from aop_pose.io.clinic.video import Selection
from aop_pose.io.discover import Entry, discover
from aop_pose.io.files import refusals
from aop_pose.io.folders import appearing
from aop_pose.io.images import read_frames

_ULTRASOUND, _ULTRASOUND_CINE = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_REGION_NUMBERS = (
    "RegionSpatialFormat", "RegionDataType", "RegionFlags", "RegionLocationMinX0", "RegionLocationMinY0",
    "RegionLocationMaxX1", "RegionLocationMaxY1", "PhysicalUnitsXDirection", "PhysicalUnitsYDirection",
    "PhysicalDeltaX", "PhysicalDeltaY", "ReferencePixelX0", "ReferencePixelY0",
)  # fmt: skip
_EMPTY = (
    "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
    "Manufacturer", "ContentDate", "ContentTime", "PatientOrientation", "Laterality",
)  # fmt: skip
METHOD = "aop-pose: new header, pixels of the ultrasound region only"
_CODES = (("113100", "Basic Application Confidentiality Profile"), ("113101", "Clean Pixel Data Option"))


def other_uid(salt: Salt, uid: str) -> str:
    """A UID in the place of another one, the same for the same salt; "" gives one as well."""
    digest = hmac.new(salt.value, uid.encode(), hashlib.sha256).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def made_anew(header: Any, salt: Salt, pydicom: Any) -> Any:
    """A header without pixels: identifiers replaced, types and empty elements as an ultrasound image must have them."""
    made = pydicom.Dataset()
    made.SOPClassUID = _ULTRASOUND_CINE if int(header.get("NumberOfFrames") or 1) > 1 else _ULTRASOUND
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(made, name, other_uid(salt, str(header.get(name) or "")))
    made.PatientID = salt.name(f"patient {header.get('PatientID') or ''}")
    made.PatientName = f"{made.PatientID}^"
    for name in _EMPTY:
        setattr(made, name, None)
    made.Modality, made.ImageType, made.InstanceNumber = "US", ["DERIVED", "PRIMARY"], 1
    made.SeriesNumber = 1
    made.PatientIdentityRemoved, made.DeidentificationMethod = "YES", METHOD
    codes = []
    for value, meaning in _CODES:
        code = pydicom.Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        codes.append(code)
    made.DeidentificationMethodCodeSequence = codes
    made.BurnedInAnnotation, made.LossyImageCompression = "NO", "00"
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = _EXPLICIT_LITTLE
    return made


@attrs.frozen
class Deidentified:
    """The outcome of a run."""

    written: int
    left_out: list[tuple[int, str]]
    """Files that were left out, by their place in the order of names, and why."""


def deidentify(source: str | Path, dst: str | Path, region: Region | None = None) -> Deidentified:
    """Write copies of every DICOM file of a file, a folder, a DICOMDIR or a zip that are safe to share.

    Pixels are 8-bit gray as they are measured; all outside the file's ultrasound region (or ``region``) is black. A
    file without a region is left out unless one is given: nobody knows then where names are burned in. Names and UIDs
    are new ones, consistent within this run alone: nothing leads back.

    UsageError where there is no DICOM file or none can be copied, or ``dst`` is not new or empty.
    """
    entries = [entry for entry in expand(discover([source]).entries) if holds_dicom(entry)]
    if not entries:
        raise UsageError("expected DICOM files to copy, found none; pictures and videos have no header to clean")
    salt, left_out, written = Salt.new(), list[tuple[int, str]](), 0
    with appearing(Path(dst), overwrite=False) as folder:
        for number, entry in enumerate(entries, start=1):
            try:
                with refusals():
                    _copy(entry, folder / f"{written + 1:05d}.dcm", salt, region)
                written += 1
            except UnreadableError as error:
                (folder / f"{written + 1:05d}.dcm").unlink(missing_ok=True)
                left_out.append((number, str(error)))
        if not written:
            raise UsageError(f"nothing could be copied: {left_out[0][1]} ({len(left_out)} files)")
    return Deidentified(written, left_out)


def _copy(entry: Entry, path: Path, salt: Salt, region: Region | None) -> None:
    times: list[float | None] = []
    with tempfile.TemporaryFile() as pixels:
        for frame in read_frames(entry):
            pixels.write(kept(frame, region).tobytes())
            times.append(frame.time_s)
        with opened(entry) as stream, open_dicom(stream) as file, quiet() as pydicom:
            items = list(file.elements.get("SequenceOfUltrasoundRegions") or ())
            height, width = file.height, file.width
        with opened(entry) as stream, quiet() as pydicom:
            names = ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID"]
            header = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=names)
            header.NumberOfFrames = len(times)
            made = made_anew(header, salt, pydicom)
            made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
            made.Rows, made.Columns = height, width
            made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
            regions = [_numbers_of(item, pydicom) for item in items if parts_of([item], width, height)]
            if regions:
                made.SequenceOfUltrasoundRegions = regions
            _say_times(made, times)
            pydicom.dcmwrite(path, made, implicit_vr=False, little_endian=True, enforce_file_format=True)
        _append_pixels(path, pixels)


@attrs.frozen
class Framed:
    """The frames that were taken out of cines."""

    written: int
    left_out: list[tuple[int, str]]
    """Files that were left out, or broke off, by their place in the order of names, and why."""
    whole: int
    """Frames of files without a header for patients (videos, pictures), stored as they are shown."""


def write_frames(source: str | Path, dst: str | Path, wanted: Selection, region: Region | None = None) -> Framed:
    """Frames of cines as PNG, ``NAME_0012.png`` by their number in the file, to be labelled.

    Of DICOM files the ultrasound region alone is kept (or ``region``), all around it is black, and NAME is new and
    leads nowhere; one that names no region is left out unless one is given. Videos and pictures keep their names, and
    are black around ``region`` where one is given. Coordinates are those of the file.

    UsageError where there is no frame, or ``dst`` is not new or empty.
    """
    entries = expand(discover([source]).entries)
    named = renamed(entries, [about(entry) for entry in entries], Salt.new())
    left_out, written, whole = list[tuple[int, str]](), 0, 0
    with appearing(Path(dst), overwrite=False) as folder:
        for number, entry in enumerate(named, start=1):
            try:
                for frame in read_frames(entry, wanted):
                    name = PurePosixPath(entry.source).with_suffix("") if not frame.private else entry.source
                    target = folder / f"{name}_{frame.index:04d}.png"
                    hides = frame.private or region is not None
                    pixels = kept(frame, region) if hides else frame.pixels
                    target.parent.mkdir(parents=True, exist_ok=True)
                    write_gray(target, pixels)
                    written, whole = written + 1, whole + (not hides)
            except UnreadableError as error:
                left_out.append((number, str(error)))
        if not written:
            why = f": {left_out[0][1]} ({len(left_out)} files)" if left_out else ""
            raise UsageError(f"{source}: expected frames to take out, found none{why}")
    return Framed(written, left_out, whole)


def kept(frame: Frame, region: Region | None) -> np.ndarray:
    """The pixels (H, W) of a frame in its regions, or in the one that is given; all else is black.

    UnreadableError where the frame names no region and none is given, or the given one does not lie in it.
    """
    regions = [one.region for one in (frame, *frame.choices) if one.region is not None]
    if region is not None:
        if not region.lies_in(*frame.shape):
            raise UnreadableError(f"the region {region} does not lie inside {frame.width} x {frame.height} pixels")
        regions = [region]
    if not regions:
        raise UnreadableError("it names no region, and names may be burned in anywhere; give --region X,Y,W,H")
    pixels = np.zeros_like(frame.pixels)
    for one in regions:
        one.cut(pixels)[:] = one.cut(frame.pixels)
    return pixels


def _numbers_of(item: Any, pydicom: Any) -> Any:
    copy = pydicom.Dataset()
    for name in _REGION_NUMBERS:
        value = item.get(name)
        if isinstance(value, (int, float)):
            setattr(copy, name, value)
    return copy


def _say_times(made: Any, times: Sequence[float | None]) -> None:
    """The steps between frames in milliseconds, where a cine states them."""
    if len(times) < 2:
        return
    made.NumberOfFrames = len(times)
    seconds = [time for time in times if time is not None]
    if len(seconds) < len(times):
        return
    steps = [0.0, *(1000 * (later - sooner) for sooner, later in pairwise(seconds))]
    if max(steps[1:]) - min(steps[1:]) < 1e-6:
        made.FrameTime, made.FrameIncrementPointer = f"{steps[1]:.9g}", 0x00181063
    else:
        made.FrameTimeVector, made.FrameIncrementPointer = [f"{step:.9g}" for step in steps], 0x00181065


def _append_pixels(path: Path, pixels: BinaryIO) -> None:
    """Pixels as the last element of a file in explicit little endian, without holding them in memory."""
    length = pixels.tell()
    if length + 1 >= 1 << 32:
        raise UnreadableError("too long: the pixels of a copy must stay below 4 GB; take a part of the cine")
    pixels.seek(0)
    with open(path, "ab") as stream:
        stream.write(b"\xe0\x7f\x10\x00OB\x00\x00" + (length + length % 2).to_bytes(4, "little"))
        shutil.copyfileobj(pixels, stream, 1 << 20)
        stream.write(bytes(length % 2))
