"""DICOM files made for tests: no patient was ever in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="reading DICOM needs the extra dicom")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.uid import (  # noqa: E402
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
ULTRASOUND_CINE = "1.2.840.10008.5.1.4.1.1.3.1"
PREFIX = "1.2.826.0.1.3680043.8.498.20."
NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)


def region(
    box: Sequence[int],
    deltas: Sequence[float] = (0.02, 0.02),
    *,
    units: Sequence[int] = (3, 3),
    kind: int = 1,
    data: int = 1,
) -> Dataset:
    """An item of the Sequence of Ultrasound Regions: box as x0, y0, x1, y1 (the last pixels), deltas along x and y."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = kind, data, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = box[0], box[1]
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = box[2], box[3]
    item.PhysicalUnitsXDirection, item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX, item.PhysicalDeltaY = deltas
    return item


def dataset(
    pixels: np.ndarray,
    *,
    frames: int | None = None,
    photometric: str | None = None,
    regions: Sequence[Dataset] = (),
    sop: str = "1",
    **elements: Any,
) -> Dataset:
    """A data set of pixels (H, W), (H, W, 3), or with a first axis of ``frames``; ``elements`` by keyword on top."""
    colour = pixels.ndim == (4 if frames else 3)
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.SOPClassUID = ULTRASOUND_CINE if frames else ULTRASOUND
    made.SOPInstanceUID, made.Modality = PREFIX + sop, "US"
    made.StudyInstanceUID, made.SeriesInstanceUID = PREFIX + "7", PREFIX + "8"
    if frames:
        made.NumberOfFrames = frames
    made.Rows, made.Columns = pixels.shape[1:3] if frames else pixels.shape[:2]
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = photometric or ("RGB" if colour else "MONOCHROME2")
    if colour:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = pixels.dtype.itemsize * 8
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, int(pixels.dtype.kind == "i")
    if regions:
        made.SequenceOfUltrasoundRegions = list(regions)
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def save(path: Path, made: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write it; native pixels are turned to the order of bytes, compressed ones are compressed by pydicom."""
    path.parent.mkdir(parents=True, exist_ok=True)
    syntax = UID(syntax)
    meta = made.file_meta
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
    if syntax in NATIVE:
        if syntax == ExplicitVRBigEndian and made.BitsAllocated == 16:
            made.PixelData = np.frombuffer(made.PixelData, "<u2").astype(">u2").tobytes()
        meta.TransferSyntaxUID = syntax
        little, implicit = syntax.is_little_endian, syntax.is_implicit_VR
        made.save_as(path, enforce_file_format=True, implicit_vr=implicit, little_endian=little)
        return path
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax.is_compressed:
        made.compress(syntax, generate_instance_uid=False)
    made.file_meta.TransferSyntaxUID = syntax
    made.save_as(path, enforce_file_format=True)
    return path


def jpeg_frames(frames: Sequence[np.ndarray], quality: int = 95) -> list[bytes]:
    """Gray frames as baseline JPEG code streams."""
    return [cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes() for frame in frames]


def save_jpeg(path: Path, made: Dataset, streams: Sequence[bytes], syntax: str = JPEGBaseline8Bit, **how: Any) -> Path:
    """Write a data set whose pixels are these code streams, one a frame; ``how`` as ``encapsulate`` takes it."""
    made.PixelData = encapsulate(list(streams), **how)
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.save_as(path, implicit_vr=False, little_endian=True)
    return path


MARK, DATE, UID_ROOT, PIXEL = "XMARKX", "19120304", "1.2.826.0.1.3680043.8.4242.", 137
_TEXT_OF = {
    "PN": f"{MARK}^NAME", "LO": f"{MARK} LO", "SH": f"{MARK}SH", "LT": f"{MARK} LT", "ST": f"{MARK} ST",
    "UT": f"{MARK} UT", "UC": f"{MARK} UC", "AE": f"{MARK}AE", "CS": MARK, "DA": DATE, "TM": "112233",
    "DT": f"{DATE}112233", "AS": "042Y", "UI": UID_ROOT + "1",
}  # fmt: skip


def marked(made: Dataset) -> Dataset:
    """Every element with text that the dictionary knows for a patient, a study, an institution, filled in."""
    from pydicom.datadict import DicomDictionary

    groups = (0x0008, 0x0010, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040)
    kept = {"SOPClassUID", "PhotometricInterpretation", "Modality", "SpecificCharacterSet", "VOILUTFunction"}
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if tag >> 16 in groups and vr in _TEXT_OF and keyword and keyword not in kept:
            made.add_new(tag, vr, _TEXT_OF[vr])
    nested = Dataset()
    nested.PatientName, nested.InstitutionName = f"{MARK}^NESTED", f"{MARK} NESTED"
    made.ReferencedPatientSequence = [nested]
    block = made.private_block(0x0011, f"{MARK} PRIVATE", create=True)
    block.add_new(1, "LO", f"{MARK} PRIVATE")
    made.SOPInstanceUID = UID_ROOT + "99" + str(made.SOPInstanceUID)[-1]
    return made


def everything_in(folder: Path) -> list[tuple[str, bytes]]:
    return [(str(path.relative_to(folder)), path.read_bytes()) for path in folder.rglob("*") if path.is_file()]


def marked_leaks(folder: Path) -> list[str]:
    """Files of a folder whose name or bytes hold a marker."""
    words = [MARK, DATE, UID_ROOT]
    return [name for name, content in everything_in(folder)
            if any(word in name or word.encode() in content for word in words)]  # fmt: skip
