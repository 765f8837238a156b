"""The readers that a fuzz run feeds: for each, a folder of good files, and how they are read."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
from PIL import Image

from aop_pose.core.frame import Volume
from aop_pose.errors import AopPoseError
from aop_pose.io.discover import Entry


@attrs.frozen
class Reader:
    """One way into the package."""

    name: str
    prepare: Callable[[Path], list[Path]]
    """Write good files into an empty folder, and list those that may be changed."""
    take: Callable[[Path, Path], object]
    """Read the folder, one of whose files is changed: an error of the package is a refusal, any other a fault."""

    def read(self, folder: Path, file: Path) -> bool:
        """True where it was read, False where it was refused by name."""
        try:
            self.take(folder, file)
        except AopPoseError as error:
            if "\n" in str(error) or not str(error):
                raise AssertionError(f"expected a line, found {str(error)!r}") from error
            return False
        return True


def gray(height: int = 40, width: int = 48) -> np.ndarray:
    """uint8 (H, W)."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(1).normal(0, 9, (height, width))
    return np.clip(110 + 80 * np.sin(x / 9) * np.cos(y / 7) + noise, 0, 255).astype(np.uint8)


def _frames(folder: Path) -> list[Path]:
    from flip_bits import kinds

    found = list(dict.fromkeys(kind.path for kind in kinds(folder) if not kind.volume))
    turned = Image.Exif()
    turned[0x0112] = 6
    colour = np.dstack([gray(), gray()[::-1], gray()[:, ::-1]])
    extra = {
        "colour.png": (colour, {"exif": turned}), "alpha.png": (np.dstack([colour, gray()]), {}),
        "colour.jpg": (colour, {"exif": turned, "progressive": True}), "colour.tif": (colour, {"exif": turned}),
        "lzw.tif": (colour, {"compression": "tiff_lzw"}), "jpeg.tif": (colour, {"compression": "jpeg"}),
        "deep.tif": (gray().astype(np.uint16) * 16, {"compression": "tiff_adobe_deflate"}),
        "float.tif": (gray().astype(np.float32) / 7, {}), "colour.bmp": (colour, {}), "one.tif": (gray() > 99, {}),
        "fax.tif": (gray() > 99, {"compression": "group4"}), "packbits.tif": (gray(), {"compression": "packbits"}),
    }  # fmt: skip
    for name, (pixels, options) in extra.items():
        Image.fromarray(pixels).save(folder / name, **options)
        found.append(folder / name)
    palette = Image.fromarray(colour).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(folder / "palette.png", transparency=3)
    palette.save(folder / "cine.gif", save_all=True, append_images=[palette.rotate(9), palette.rotate(30)], loop=0)
    header = "NDims = 3\nDimSize = 48 40 2\nElementType = MET_UCHAR\nElementSpacing = 0.2 0.3 1\nElementDataFile = "
    (folder / "cine.mha").write_bytes(f"{header}LOCAL\n".encode() + gray().tobytes() * 2)
    (folder / "two.mhd").write_text(header + "two.raw\n")
    (folder / "two.raw").write_bytes(gray().tobytes() * 2)
    return [*found, folder / "palette.png", folder / "cine.gif", folder / "cine.mha", folder / "two.mhd"]


def _take_frames(folder: Path, file: Path) -> None:
    from aop_pose.formats.pictures import picture_size
    from aop_pose.io.images import read_frames

    frames = list(read_frames(Entry(file, file.name)))
    if frames[0].pixels.shape[::-1] != picture_size(file):
        raise AssertionError(f"size {picture_size(file)}, but {frames[0].pixels.shape} pixels")


def _volumes(folder: Path) -> list[Path]:
    from flip_bits import kinds

    from aop_pose.io.volumes import write_sequence

    found = list(dict.fromkeys(kind.path for kind in kinds(folder) if kind.volume))
    volume = Volume(np.stack([gray(8, 9)] * 5).astype(np.float32) / 3, np.diag([0.5, 2, 3, 1.0]))
    write_sequence([volume, volume], folder / "time.nii.gz")
    return [*found, folder / "time.nii.gz"]


def _take_volumes(folder: Path, file: Path) -> None:
    from aop_pose.io.volumes import read_volumes

    for volume in read_volumes(file, spacing=(1, 1, 1)):
        if not np.isfinite(volume.voxels).all():
            raise AssertionError("voxels that are not finite")


def _mask() -> np.ndarray:
    y, x = np.mgrid[:80, :96]
    ps, head = ((x - 25) / 12) ** 2 + ((y - 20) / 6) ** 2 < 1, ((x - 60) / 25) ** 2 + ((y - 50) / 20) ** 2 < 1
    return np.where(ps, 1, np.where(head, 2, 0)).astype(np.uint8)


def _masks(folder: Path) -> list[Path]:
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    palette = Image.fromarray(_mask()).convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.save(folder / "masks" / "a.png", transparency=0)
    Image.fromarray(_mask()).save(folder / "masks" / "b.tif", compression="tiff_adobe_deflate")
    Image.fromarray(_mask()).save(folder / "masks" / "c.bmp")
    Image.fromarray(np.dstack([_mask()] * 3)).save(folder / "masks" / "d.png")
    for name in "abcd":
        Image.fromarray(gray(80, 96)).save(folder / "images" / f"{name}.png")
    return sorted((folder / "masks").iterdir())


def _table(path: Path, header: str, rows: list[list[object]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return path


def _tables(folder: Path) -> list[Path]:
    from aop_pose.io.volumes import write_volume

    (folder / "images").mkdir()
    names = [f"{number:04}.png" for number in range(4)]
    for name in names:
        Image.fromarray(gray(80, 96)).save(folder / "images" / name)
    write_volume(Volume(np.zeros((20, 20, 20), np.float32), np.eye(4)), folder / "v.nii.gz")
    head = (
        "Filename,ofd_1_x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y,pixel_size_mm,head_circumference_mm"
    )
    points = [f"eye_{side}_{axis}" for side in ("left", "right") for axis in "ijk"]
    pairs = ["(30, 20)", "(10.5, 24)", "(60, 30)"]
    return [
        _table(folder / "labels.csv", "Filename,PS1,PS2,FH1,AoP", [[name, *pairs, ""] for name in names]),
        _table(folder / "pseudo.csv", "Filename,PS1,PS2,FH1,keep", [[name, *pairs, 1] for name in names]),
        _table(folder / "head.csv", head, [[name, 10, 40, 80, 41, 45, 20, 46, 60, 0.5, ""] for name in names]),
        _table(folder / "volumes.csv", ",".join(["Filename", *points]), [["v.nii.gz", 3, 4, 5, 10, 11, 12]]),
        _table(folder / "sizes.csv", "Filename,pixel_size_mm", [[name, 0.25] for name in names]),
    ]


def _take_table(folder: Path, file: Path) -> None:
    if file.name == "sizes.csv":
        from aop_pose.io.spacing import parse_pixel_size

        parse_pixel_size(str(file))
        return
    from aop_pose.core.schemas import AOP
    from aop_pose.evaluation.sources import read_truth

    _check(file, file)
    if file.name == "labels.csv":
        read_truth(file, AOP)


def _check(path: Path, file: Path) -> None:
    from aop_pose.formats.registry import check

    for finding in check(path).findings:
        if "\n" in str(finding):
            raise AssertionError(f"expected a line, found {str(finding)!r}")


def _yolo(folder: Path) -> list[Path]:
    for kind in ("images", "labels"):
        for part in ("train", "val"):
            (folder / kind / part).mkdir(parents=True)
    found = []
    for number, part in enumerate(("train", "train", "val")):
        Image.fromarray(gray(80, 96)).save(folder / "images" / part / f"{number}.png")
        label = folder / "labels" / part / f"{number}.txt"
        label.write_text("0 0.5 0.5 0.4 0.3 0.31 0.25 2 0.11 0.3 2 0.62 0.37 2\n")
        found.append(label)
    data = folder / "data.yaml"
    data.write_text("train: images/train\nval: images/val\nkpt_shape: [3, 3]\nflip_idx: [0, 1, 2]\nnames:\n  0: aop\n")
    # As often as the labels together.
    return [*found, data, data, data]


def _results(folder: Path) -> list[Path]:
    from aop_pose.core.schemas import AOP, HEAD
    from aop_pose.io.table import ResultsWriter

    found = []
    for schema in (AOP, HEAD):
        path = folder / f"{schema.name}.csv"
        with ResultsWriter(path, schema, resume=False) as writer:
            for number in range(4):
                given = {"source": f"{number}.png", "index": "0", "width": "96", "height": "80", "status": "ok"}
                row = [given.get(column, f"{20.5 + len(column) * 3 + number}") for column in writer.columns]
                writer.write_row(row)
        found.append(path)
    return found


def _take_results(folder: Path, file: Path) -> None:
    from aop_pose.core.schemas import AOP, HEAD
    from aop_pose.evaluation.sources import read_results_rows, read_truth
    from aop_pose.io.table import ResultsWriter, iter_results

    schema = HEAD if file.name.startswith("head") else AOP
    whole = file.read_bytes()
    refusals: list[AopPoseError] = []
    for step in (
        lambda: read_results_rows(file),
        lambda: read_truth(file, schema),
        lambda: list(iter_results(file)),
        lambda: ResultsWriter(file, schema, resume=True).__enter__().__exit__(None, None, None),
    ):
        try:
            step()
        except AopPoseError as error:
            refusals.append(error)
    file.write_bytes(whole)
    if refusals:
        raise refusals[0]


def _artefacts(folder: Path) -> list[Path]:
    import onnx

    from aop_pose.inference.predictor import METADATA_KEY

    helper, number = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["gray", "shape"], ["candidates"])],
        "tiny",
        [helper.make_tensor_value_info("gray", number.FLOAT, ["batch", 1, 44, 44])],
        [helper.make_tensor_value_info("candidates", number.FLOAT, ["batch", 11, 176])],
        [helper.make_tensor("shape", number.INT64, [3], [-1, 11, 176])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    contract = {
        "format": 1, "name": "tiny", "schema": "aop", "head": "pose", "image_size": 44, "threshold": 0.25,
        "decode": "best", "training_run": {"name": "none"},
    }  # fmt: skip
    helper.set_model_props(model, {METADATA_KEY: json.dumps(contract)})
    (folder / "tiny.onnx").write_bytes(model.SerializeToString())
    return [folder / "tiny.onnx"]


def _take_artefact(folder: Path, file: Path) -> None:
    from aop_pose.inference.predictor import load

    load(file, threads=1)


def _checkpoints(folder: Path) -> list[Path]:
    from torch import nn

    from aop_pose.pipelines.checkpoint import write_checkpoint
    from aop_pose.pipelines.unet.config import UnetConfig

    write_checkpoint(folder / "best.pt", "unet", "train", UnetConfig(), nn.Linear(3, 2))
    return [folder / "best.pt"]


def _take_checkpoint(folder: Path, file: Path) -> None:
    from torch import nn

    from aop_pose.pipelines.checkpoint import fill, read_trained
    from aop_pose.pipelines.unet.config import UnetConfig

    fill(nn.Linear(3, 2), read_trained(file, "unet", UnetConfig).state, file)


def _presets(folder: Path) -> list[Path]:
    from aop_pose.pipelines.unet.config import PRESETS

    for path in PRESETS.glob("*.yaml"):
        (folder / path.name).write_bytes(path.read_bytes())
    return sorted(folder.glob("*.yaml"))


def _take_preset(folder: Path, file: Path) -> None:
    from aop_pose.pipelines.config import load_config
    from aop_pose.pipelines.unet.config import PRESETS, UnetConfig

    load_config(UnetConfig, PRESETS, str(file))


def _clinic(folder: Path) -> list[Path]:
    """DICOM files of a made-up machine: encodings, compressions, a palette, a cine, and a zip of them."""
    import zipfile

    from pydicom import dcmwrite, uid
    from pydicom.dataset import Dataset, FileMetaDataset

    def made(pixels: np.ndarray, syntax: str, **elements: object) -> Dataset:
        one, region = Dataset(), Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian if syntax in compressed else syntax
        one.SOPClassUID, one.SOPInstanceUID, one.StudyInstanceUID = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.3", "1.2.4"
        one.PatientName, one.Modality, one.SamplesPerPixel = "A^B", "US", 3 if pixels.shape[-1] == 3 else 1
        one.PhotometricInterpretation = "RGB" if one.SamplesPerPixel == 3 else "MONOCHROME2"
        if one.SamplesPerPixel == 3:
            one.PlanarConfiguration = 0
        one.Rows, one.Columns = 40, 48
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 8, 8, 7, 0
        region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
        region.RegionLocationMinX0, region.RegionLocationMinY0 = 2, 3
        region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 45, 37
        region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
        region.PhysicalDeltaX = region.PhysicalDeltaY = 0.02
        one.SequenceOfUltrasoundRegions = [region]
        for name, value in elements.items():
            setattr(one, name, value)
        one.PixelData = pixels.tobytes()
        if syntax in compressed:
            one.compress(syntax)
        return one

    compressed = (uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless)
    colour = np.dstack([gray(), gray()[::-1], gray()[:, ::-1]])
    cine = {"NumberOfFrames": 3, "FrameTime": "40"}
    table = {f"{one}PaletteColorLookupTableData": bytes(range(256)) * 2 for one in ("Red", "Green", "Blue")}
    table |= {f"{one}PaletteColorLookupTableDescriptor": [256, 0, 16] for one in ("Red", "Green", "Blue")}
    files = {
        "plain": made(gray(), uid.ExplicitVRLittleEndian, WindowCenter="120", WindowWidth="200"),
        "implicit": made(colour, uid.ImplicitVRLittleEndian),
        "big": made(gray(), uid.ExplicitVRBigEndian), "deflated": made(gray(), uid.DeflatedExplicitVRLittleEndian),
        "palette": made(gray(), uid.ExplicitVRLittleEndian, PhotometricInterpretation="PALETTE COLOR", **table),
        "cine": made(np.stack([gray()] * 3), uid.ExplicitVRLittleEndian, **cine),
        **{f"packed{place}": made(np.stack([gray()] * 3), syntax, **cine) for place, syntax in enumerate(compressed)},
    }  # fmt: skip
    found = []
    for name, one in files.items():
        dcmwrite(folder / f"{name}.dcm", one, enforce_file_format=True)
        found.append(folder / f"{name}.dcm")
    with zipfile.ZipFile(folder / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in found[:3]:
            archive.write(path, path.stem)
    return [*found, folder / "study.zip"]


def _videos(folder: Path) -> list[Path]:
    import cv2

    for name, code in (("a.avi", "MJPG"), ("b.mp4", "mp4v")):
        writer = cv2.VideoWriter(str(folder / name), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), 25.0, (48, 40))
        for _ in range(6):
            writer.write(np.dstack([gray()] * 3))
        writer.release()
    return [folder / "a.avi", folder / "b.mp4"]


def _take_study(folder: Path, file: Path) -> None:
    from aop_pose.io.clinic.study import expand
    from aop_pose.io.discover import discover
    from aop_pose.io.images import read_frames

    for entry in expand(discover([file]).entries):
        for frame in read_frames(entry):
            if frame.region is not None and not frame.region.lies_in(*frame.shape):
                raise AssertionError(f"region {frame.region} outside {frame.shape}")


READERS = {
    reader.name: reader
    for reader in (
        Reader("frames", _frames, _take_frames),
        Reader("dicom", _clinic, _take_study),
        Reader("videos", _videos, _take_study),
        Reader("volumes", _volumes, _take_volumes),
        Reader("masks", _masks, _check),
        Reader("tables", _tables, _take_table),
        Reader("yolo", _yolo, _check),
        Reader("results", _results, _take_results),
        Reader("presets", _presets, _take_preset),
        Reader("artefacts", _artefacts, _take_artefact),
        Reader("checkpoints", _checkpoints, _take_checkpoint),
    )
}
"""Every way in which a file of others comes into the package."""
