"""The pictures that fit and check a gate: frames as they are, marked or turned, and kinds that must not be measured."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import numpy as np

from aop_pose.core.stances import STANCES, UPRIGHT, Stance
from aop_pose.errors import UsageError
from aop_pose.formats.label import find_picture
from aop_pose.formats.pictures import read_gray, read_mask
from aop_pose.formats.split import groups_by_name, near_duplicate_groups_of, thumbnail
from aop_pose.geometry import FETAL_HEAD, SYMPHYSIS
from aop_pose.inference.engine import usable_cores
from aop_pose.inference.predictor import Predictor
from aop_pose.measuring.ahead import in_order
from aop_pose.phantom.burnt_in import BURNT_IN
from aop_pose.phantom.frame import make_empty
from aop_pose.phantom.looks import LOOKS, cut, paint_out
from lib import negatives
from lib.fitting import CUT, FRAMES, MARKED, NO_HEAD, NO_SYMPHYSIS

MIRRORED, TURNED = "mirrored", "turned by quarters"
STOOD = (MIRRORED, TURNED)
"""Kinds that may be measured where they are turned back."""
HEAD_PLANE, NOISE, EVERYDAY = "head plane (HC18)", "noise", "everyday pictures"
MRI, EMPTY = "MRI slices", "phantoms without anatomy"
UNSEEN = (MRI, EMPTY)
"""Kinds that no gate is fitted on."""
MADE_UP = 200
"""Pictures of each kind that is made up."""
MRI_PLACES = (0.35, 0.5, 0.65)
"""Shares of a volume's extent along each of its three axes where a slice is taken."""


@attrs.frozen(eq=False)
class Picture:
    """One picture and what it is. Pictures of one group are of one frame, or of nearly the same."""

    kind: str
    group: int
    name: str
    pixels: np.ndarray
    stance: Stance = UPRIGHT
    """The way a frame was turned."""


def of_frames(
    predictor: Predictor, data: Path, names: Sequence[str], seed: int, most: int | None = None
) -> list[Picture]:
    """The frames, and of ``most`` of them (all where None) what is made of them by turning, cutting, painting out."""
    pixels = [read_gray(find_picture(data, name)) for name in names]
    groups = near_duplicate_groups_of([thumbnail(one) for one in pixels])
    chosen = set(np.random.default_rng(seed).permutation(len(names))[: most or len(names)].tolist())

    def made_of(i: int) -> list[Picture]:
        frame = Picture(FRAMES, int(groups[i]), names[i], pixels[i])
        if i not in chosen:
            return [frame]
        rng, mask = np.random.default_rng([seed, i]), read_mask(data / "masks" / Path(names[i]).name)
        made = {
            NO_SYMPHYSIS: paint_out(pixels[i], mask == SYMPHYSIS, rng),
            NO_HEAD: paint_out(pixels[i], mask == FETAL_HEAD, rng),
        }
        found = predictor.find([pixels[i]])[0].keypoints
        if found is not None:
            made[CUT] = negatives.cut_sector(pixels[i], np.stack([found["PS1"], found["PS2"]]))
            made[MARKED] = marked(pixels[i], found.coords, rng)
        mirrored = next(one for one in STANCES if one.mirrored and not one.quarters)
        turned = [one for one in STANCES if one.quarters]
        stood = {MIRRORED: mirrored, TURNED: turned[int(rng.integers(len(turned)))]}
        group = int(groups[i])
        return [
            frame, *(Picture(kind, group, names[i], one) for kind, one in made.items()),
            *(Picture(kind, group, names[i], one.apply(pixels[i]), one) for kind, one in stood.items()),
        ]  # fmt: skip

    return list(itertools.chain.from_iterable(in_order(made_of, range(len(names)), usable_cores())))


def marked(pixels: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A frame as people hand them on: with one or two things burnt in, in another look, cut to its ultrasound."""
    if rng.random() < 0.5:
        pixels, points = list(LOOKS.values())[int(rng.integers(len(LOOKS)))](pixels, points, rng)
    for _ in range(int(rng.integers(0, 3))):
        pixels = list(BURNT_IN.values())[int(rng.integers(len(BURNT_IN)))](pixels, points, rng)
    return cut(pixels, points, rng)[0] if rng.random() < 0.5 else pixels


def head_planes(folder: Path, half: int) -> Iterator[Picture]:
    """HC18 frames of every second patient; ``half`` is 0 or 1."""
    paths = sorted((folder / "images").iterdir())
    patients = groups_by_name([path.name for path in paths], r"^(\d+)")
    for path, patient in zip(paths, patients, strict=True):
        if patient % 2 == half:
            yield Picture(HEAD_PLANE, -1 - int(patient), path.name, read_gray(path))


def made_up(seed: int) -> Iterator[Picture]:
    """Noise and everyday pictures."""
    makers = {NOISE: negatives.noise, EVERYDAY: negatives.everyday}
    for (kind, make), number in itertools.product(makers.items(), range(MADE_UP)):
        group = -1_000_000 * (1 + list(makers).index(kind)) - number
        yield Picture(kind, group, f"{kind}-{seed}-{number}", make(np.random.default_rng([seed, number])))


def unseen(mri: Path, seed: int) -> Iterator[Picture]:
    """Phantoms without anatomy, and slices of MRI volumes along their three axes."""
    try:
        import SimpleITK
    except ModuleNotFoundError:
        raise UsageError("reading MRI volumes needs SimpleITK; install it with: pip install '.[train]'") from None
    for number in range(MADE_UP):
        yield Picture(EMPTY, number, f"empty-{seed}-{number}", make_empty(seed, number))
    for group, path in enumerate(sorted((mri / "volumes").iterdir())):
        volume = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).astype(np.float32)
        gray = np.clip(255 * volume / np.percentile(volume, 99.5), 0, 255).astype(np.uint8)
        for axis, place in itertools.product(range(3), MRI_PLACES):
            name = f"{path.name} axis {axis} at {place}"
            yield Picture(MRI, group, name, np.ascontiguousarray(gray.take(int(place * gray.shape[axis]), axis)))
