"""A tiny phantom set and a tiny run, made once."""

from pathlib import Path

import pytest

TINY = ["image_size=64", "batch=4", "holdout=0.3", "precision=fp32", "warmup_epochs=1", "threshold=0.0"]


@pytest.fixture(scope="session")
def phantom_set(tmp_path_factory) -> Path:
    """Folder with 10 phantoms of 96 pixels and labels.csv."""
    from aop_pose.phantom.write import write_phantoms

    folder = tmp_path_factory.mktemp("phantoms") / "set"
    write_phantoms(folder, count=10, seed=5, size=96)
    return folder


@pytest.fixture(scope="session")
def faces(tmp_path_factory) -> Path:
    """Folder with 7 volumes of three points and labels.csv."""
    from tests.pipelines.fetusmap.tiny import write_faces

    return write_faces(tmp_path_factory.mktemp("faces") / "set")


def train_tiny(data: Path, out: Path, *changes: str, verb: str = "train", options=None, **settings):
    """Train on the tiny set with settings of the fewest possible steps."""
    from aop_pose.pipelines import pipeline
    from aop_pose.pipelines.job import Job

    chosen = pipeline("yolo")
    job = Job(data, out, changes=[*chosen.useful(verb, TINY), *changes], **{"init": "scratch", **settings})
    return getattr(chosen, verb)(job, **(options or {}))


def weights_of(run, name="best.pt"):
    from aop_pose.pipelines.yolo.network import load_checkpoint

    return load_checkpoint(run / "weights" / name).state_dict()


@pytest.fixture(scope="session")
def tiny_run(phantom_set, tmp_path_factory) -> Path:
    """A finished run of two epochs."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    train_tiny(phantom_set, out, "epochs=2")
    return out


@pytest.fixture(scope="module")
def teachers():
    """Teachers whose points lie within the picture, in the stages of a recipe and in rounds."""
    from tests.pipelines.teachers import answering_inside

    with answering_inside():
        yield
