"""The smallest U-Net runs, for the tests of its pipeline."""

from pathlib import Path

TINY = (
    "image_size=64", "widths=[8,16]", "bottleneck=16", "batch=4", "holdout=0.3", "precision=fp32", "warmup_epochs=1",
    "threshold=0.0",
)  # fmt: skip

OFF = [
    f"{name}=0"
    for name in (
        "degrees", "translate", "scale", "shear", "flip", "flip_vertical", "brightness", "contrast", "gamma", "speckle",
    )
]  # fmt: skip
"""No augmentation."""


def config_of(preset: str = "fast", *changes: str):
    """A preset of the U-Net, changed."""
    from aop_pose.pipelines.config import load_config
    from aop_pose.pipelines.unet.config import PRESETS, UnetConfig

    return load_config(UnetConfig, PRESETS, preset, changes)


def train_unet(data: Path, out: Path, *changes: str, verb: str = "train", options=None, **settings):
    """Train on the tiny set with settings of the fewest possible steps."""
    from aop_pose.pipelines import pipeline
    from aop_pose.pipelines.job import Job

    chosen = pipeline("unet")
    job = Job(data, out, changes=[*chosen.useful(verb, TINY), *changes], **{"init": "scratch", **settings})
    return getattr(chosen, verb)(job, **(options or {}))


def write_heads(folder: Path, count: int = 8, size: int = 96) -> Path:
    """Bright ellipses on dark ground, with a ``head-csv`` beside them; two frames a patient."""
    import cv2
    import numpy as np

    from aop_pose.core.keypoints import Keypoints
    from aop_pose.core.schemas import HEAD
    from aop_pose.formats.head import HEAD_CSV
    from aop_pose.formats.label import Label

    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(3)
    frames = []
    for number in range(count):
        centre, angle = rng.uniform(40, 56, 2), rng.uniform(0, np.pi)
        half = np.array([rng.uniform(26, 32), rng.uniform(19, 24)])
        along = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-along[1], along[0]])
        points = np.stack([centre - half[0] * along, centre + half[0] * along])
        points = np.concatenate([points, [centre - half[1] * across, centre + half[1] * across]])
        picture = rng.integers(0, 60, (size, size)).astype(np.uint8)
        outline = (tuple(map(float, centre)), tuple(map(float, 2 * half)), float(np.degrees(angle)))
        cv2.ellipse(picture, outline, 220, 2)
        name = f"{number // 2:03}_{number % 2}.png"
        cv2.imwrite(str(folder / "images" / name), picture)
        axes = Keypoints.from_points(HEAD, points)
        frames.append(Label(name, folder / "images" / name, (size, size), axes, extras={"pixel_size_mm": "0.5"}))
    HEAD_CSV.write_table(frames, folder / "labels.csv")
    return folder
