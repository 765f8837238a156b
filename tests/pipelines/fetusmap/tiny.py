"""The smallest runs on volumes, and made-up volumes whose three points are seen."""

from pathlib import Path

import numpy as np

TINY = ("size=[16,16,16]", "voxel_mm=null", "widths=[2,4]", "precision=fp32", "holdout=0.3", "threshold=0", "lr=0.01")
AFFINES = (np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([2.0, -2.0, 3.0, 1.0]))


def blobs(shape, points, sigma=1.5):
    """float32 volume with a blob of its own brightness at each point."""
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    total = np.zeros(shape)
    for height, point in enumerate(points, start=1):
        squared = sum((axis - p) ** 2 for axis, p in zip(axes, point, strict=True))
        total += height * np.exp(-squared / (2 * sigma**2))
    return (100 * total).astype(np.float32)


def write_faces(folder: Path, count: int = 7, shape=(18, 16, 14), seed: int = 0) -> Path:
    """Volumes with brain and eyes, every second one in mirrored axes, and labels.csv."""
    from aop_pose.core.frame import Volume
    from aop_pose.core.keypoints import Keypoints
    from aop_pose.core.schemas import FETAL_FACE
    from aop_pose.formats.label import Label
    from aop_pose.formats.points3d import POINTS_3D
    from aop_pose.io.volumes import write_volume

    (folder / "volumes").mkdir(parents=True)
    draw, labelled = np.random.default_rng(seed), []
    for number in range(count):
        points = draw.uniform(3, np.array(shape) - 4, (3, 3)).round(1)
        path = folder / "volumes" / f"v{number}.nii.gz"
        noise = draw.random(shape, dtype=np.float32) * 20
        write_volume(Volume(blobs(shape, points) + noise, AFFINES[number % 2]), path)
        face = Keypoints.from_points(FETAL_FACE, points)
        labelled.append(Label(path.name, path, shape, face, index=None, extras={"mother": f"m{number // 2}"}))
    POINTS_3D.write_table(labelled, folder / "labels.csv")
    return folder


def train_tiny(data: Path, out: Path, *changes: str, verb: str = "train", options=None, **settings):
    """Train on the tiny set with settings of the fewest possible steps."""
    from aop_pose.pipelines import pipeline
    from aop_pose.pipelines.job import Job

    chosen = pipeline("fetusmap")
    job = Job(data, out, changes=[*chosen.useful(verb, TINY), *changes], **{"init": "scratch", **settings})
    return getattr(chosen, verb)(job, **(options or {}))
