"""Stand-ins that tests share."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Keypoints, Prediction
from aop_pose.core.schema import Quantity, Schema, length
from aop_pose.core.schemas import AOP
from aop_pose.inference.predictor import Contract, Predictor

SIDED_FACE = Schema(
    name="sided_face",
    points=("brain", "left_eye", "right_eye"),
    lines=(("left_eye", "right_eye"),),
    quantities=(Quantity("eye_distance", "mm", "eye distance", length, ("left_eye", "right_eye"), main=True),),
    dimensions=3,
    symmetric=(("left_eye", "right_eye"),),
    groups=(("brain", ("brain",)), ("left_eye", ("left_eye",)), ("right_eye", ("right_eye",))),
)
"""A schema, not registered, of one pair of sides that are told apart."""
POINTS = np.array([[150.0, 60.0], [80.0, 80.0], [170.0, 120.0]])


def contract(**changes):
    values = {
        "name": "fake", "schema": "aop", "head": "pose", "image_size": 256, "threshold": 0.25, "decode": "best",
        "training_run": {"name": "none"},
    }  # fmt: skip
    return Contract.model_validate({**values, **changes})


def fake_network(inputs: np.ndarray) -> np.ndarray:
    """One candidate a frame: always the same points, scored by the brightness of the frame's first row."""
    output = np.zeros((len(inputs), 11, 1), np.float32)
    output[:, :4, 0] = [128, 128, 100, 100]
    output[:, 4, 0] = inputs[:, 0, 0].mean(axis=1)
    output[:, 5:, 0] = POINTS.ravel()
    return output


def fake_predictor(**changes) -> Predictor:
    return Predictor(contract(**changes), fake_network, "fake@00000000")


def textured(seed: int, height: int = 256, width: int = 256, first_row: int = 200) -> np.ndarray:
    """A gray picture that is neither blank nor uniform, and whose neighbouring pixels are alike."""
    pixels = cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8), (0, 0), 2)
    pixels[0] = first_row
    return pixels


def random_volume(shape: tuple[int, int, int] = (20, 12, 8)) -> Volume:
    """Gray values (I, J, K) from 0 to 100 in voxels of 1, 2 and 4 mm."""
    voxels = np.random.default_rng(0).uniform(0, 100, shape).astype(np.float32)
    return Volume(voxels, np.diag([1.0, 2.0, 4.0, 1.0]), "x.nii.gz")


def write_frames(folder: Path, count: int, **options) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        cv2.imwrite(str(folder / f"{i:03}.png"), textured(i, **options))
    return folder


def require_ultralytics() -> None:
    """At the top of a test module: skip it where the package is absent, else import it as the project does."""
    from importlib.util import find_spec

    import pytest

    if find_spec("ultralytics") is None:
        pytest.skip("ultralytics is not installed: pip install '.[train]'", allow_module_level=True)
    from aop_pose.pipelines.isolation import isolate

    isolate()


def prediction(points: np.ndarray, scores: float | np.ndarray, spread: np.ndarray | None = None) -> Prediction:
    """A prediction of PS1, PS2, FH1 (3, 2); its score is that of its worst point."""
    each = np.broadcast_to(np.asarray(scores, float), (3,))
    return Prediction(Keypoints(AOP, points, each), float(each.min()), spread=spread)
