"""The ``masks`` format: ``images/`` and ``masks/`` with the same stems; 0 background, 1 PS, 2 FH."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import numpy as np

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import AOP
from aop_pose.errors import AopPoseError, UnreadableError, UsageError
from aop_pose.formats.format import Finding, Format, Reading, Report
from aop_pose.formats.label import CLASSES, Boxes, Label, LabelError, Mask, Skipped
from aop_pose.formats.pictures import picture_size, place_picture, read_gray, read_mask, unique_stems, write_gray
from aop_pose.geometry import landmarks_from_masks, largest_contour
from aop_pose.io.discover import KNOWN_SUFFIXES, files_below


class Masks(Format):
    """Pictures with a mask each."""

    name = "masks"
    kind = "masks"
    looks_for = "images/ and masks/"

    def fits(self, source: Path) -> bool:
        """True for a folder with both folders."""
        return (source / "images").is_dir() and (source / "masks").is_dir()

    def read(self, source: Path, how: Reading) -> Iterator[Label | Skipped]:
        """Every picture of ``images/`` with its mask, in order of name."""
        if how.data is not None:
            raise UsageError(f"--data: {self.name} holds its own pictures; leave --data out")
        return pair_folders(source / "images", source / "masks")

    def write(self, labels: Sequence[Label], dst: Path, held: Sequence[bool]) -> list[Skipped]:
        """Write ``dst/images`` and ``dst/masks``."""
        skipped = []
        for kind in ("images", "masks"):
            (dst / kind).mkdir(parents=True, exist_ok=True)
        for label, stem in zip(labels, unique_stems(label.name for label in labels), strict=True):
            try:
                mask = fitting_mask(label)
                place_picture(label.path, dst / "images", stem, label.index or 0)
            except UnreadableError as error:
                skipped.append(Skipped(label.name, str(error)))
                continue
            write_gray(dst / "masks" / f"{stem}.png", mask)
        return skipped

    def check(self, source: Path, data: Path | None = None) -> Report:
        """Pictures without masks and masks without pictures, sizes and values."""
        return _check_masks(source)


MASKS = Masks()


def pair_folders(images: Path, masks: Path) -> Iterator[Label | Skipped]:
    """Pictures and masks with the same path below their folders, whatever their suffixes."""
    found = {path.relative_to(masks).with_suffix(""): path for path in pictures_in(masks)}
    for path in pictures_in(images):
        name = path.relative_to(images)
        mask = found.get(name.with_suffix(""))
        if mask is None:
            yield Skipped(name.as_posix(), f"no mask {name.with_suffix('').as_posix()} in {masks.name}/")
        else:
            yield Label(name.as_posix(), path, mask=Mask(mask))


def pictures_in(folder: Path) -> list[Path]:
    """Files below a folder whose suffix is that of a picture, in order of name."""
    return [path for path in files_below(folder) if path.suffix.lower() in KNOWN_SUFFIXES]


def fitting_mask(label: Label) -> np.ndarray:
    """The mask of a label; UnreadableError where its size is not that of the picture."""
    if label.mask is None:
        raise ValueError(f"{label.name}: expected a mask, found a label without one")
    mask = label.mask.read()
    width, height = picture_size(label.path)
    if mask.shape != (height, width):
        found = f"{mask.shape[1]}x{mask.shape[0]}"
        raise UnreadableError(f"{label.mask.path}: expected {width}x{height} as its picture, found {found}")
    return mask


def with_masks(labels: Sequence[Label], data: Path) -> list[Label]:
    """The same labels, each with the mask of its name in ``data/masks``.

    UsageError names the first that is not there or has another size than its picture.
    """
    found = {path.relative_to(data / "masks").with_suffix(""): path for path in pictures_in(data / "masks")}
    masked = []
    for label in labels:
        stem = Path(label.name).with_suffix("")
        path = found.get(stem, found.get(Path(*stem.parts[1:]) if stem.parts[0] == "images" else stem))
        if path is None:
            raise UsageError(f"outlines: expected a mask masks/{stem.as_posix()} below {data}, found none")
        masked.append(attrs.evolve(label, mask=Mask(path)))
        try:
            fitting_mask(masked[-1])
        except UnreadableError as error:
            raise UsageError(f"outlines: {error}") from None
    return masked


def points_from_mask(label: Label) -> Label | Skipped:
    """The points the data set gives, else those of ``geometry.landmarks_from_masks``."""
    try:
        mask = fitting_mask(label)
        keypoints = label.keypoints
        if keypoints is None:
            coords, reason = landmarks_from_masks(mask)
            if reason:
                return Skipped(label.name, reason)
            keypoints = Keypoints.from_points(AOP, coords)
        return attrs.evolve(label, size=mask.shape[::-1], keypoints=keypoints)
    except (UnreadableError, LabelError) as error:
        return Skipped(label.name, str(error))


def boxes_from_mask(label: Label) -> Label | Skipped:
    """The boxes of a label's mask; Skipped where it has none or cannot be read."""
    try:
        mask = fitting_mask(label)
        boxes = mask_boxes(mask)
        if not boxes.classes:
            return Skipped(label.name, "empty mask: neither PS nor FH")
        return attrs.evolve(label, size=mask.shape[::-1], boxes=boxes)
    except (UnreadableError, LabelError) as error:
        return Skipped(label.name, str(error))


def mask_boxes(mask: np.ndarray) -> Boxes:
    """Boxes around the largest part of each structure of a mask (H, W).

    A box ends at the outer edges of the outermost pixels.
    """
    classes, boxes = [], []
    for number in range(len(CLASSES)):
        contour = largest_contour((mask == number + 1).astype(np.uint8))
        if len(contour):
            classes.append(number)
            boxes.append(np.concatenate([contour.min(axis=0) - 0.5, contour.max(axis=0) + 0.5]))
    return Boxes(tuple(classes), np.array(boxes).reshape(-1, 4))


def _check_masks(folder: Path) -> Report:
    findings: list[Finding] = []
    images, masks = (_by_stem(folder, kind, findings) for kind in ("images", "masks"))
    for stem in sorted(set(images) | set(masks)):
        image, mask = images.get(stem), masks.get(stem)
        if mask is None:
            findings.append(Finding(str(image), "expected a mask of the same name in masks/, found none"))
        elif image is None:
            findings.append(Finding(str(mask), "expected a picture of the same name in images/, found none"))
        else:
            findings += [Finding("", message) for message in _pair_messages(image, mask)]
    return Report(len(images), "frames", findings)


def _by_stem(folder: Path, kind: str, findings: list[Finding]) -> dict[Path, Path]:
    found: dict[Path, Path] = {}
    for path in pictures_in(folder / kind):
        stem = path.relative_to(folder / kind).with_suffix("")
        if stem in found:
            findings.append(Finding(str(path), f"expected each name once, found {found[stem].name} beside it"))
        found.setdefault(stem, path)
    return found


def _pair_messages(image: Path, mask: Path) -> Iterator[str]:
    size = None
    try:
        size = read_gray(image).shape
    except AopPoseError as error:
        yield str(error)
    try:
        shape = read_mask(mask).shape
        if size is not None and shape != size:
            yield f"{mask}: expected {size[1]}x{size[0]} as its picture, found {shape[1]}x{shape[0]}"
        Mask(mask).read()
    except UnreadableError as error:
        yield str(error)
