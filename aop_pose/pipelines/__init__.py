"""The pipelines, by name, and what ``--weights`` may be. ``pipeline.Pipeline`` says what each one answers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from aop_pose.errors import UsageError
from aop_pose.inference.predictor import Predictor
from aop_pose.inference.volume_predictor import VolumePredictor
from aop_pose.inference.weights import AnyPredictor, is_trained, load_as, of_schema
from aop_pose.pipelines.isolation import private_matplotlib
from aop_pose.pipelines.pipeline import Pipeline, nearest
from aop_pose.pipelines.run import RECORD, read_record

PIPELINES = {
    "yolo": "aop_pose.pipelines.yolo.pipeline:Yolo",
    "unet": "aop_pose.pipelines.unet.pipeline:Unet",
    "hrnet-gan": "aop_pose.pipelines.hrnet_gan.pipeline:HrnetGan",
    "fetusmap": "aop_pose.pipelines.fetusmap.pipeline:Fetusmap",
}
"""Name -> ``module:Class``; imported when it is asked for."""


def register(name: str, target: str) -> None:
    """Add a pipeline of another package.

    Args:
        name: as ``--method`` will say it: small letters, digits and ``-``.
        target: ``module:Class`` of a ``pipeline.Pipeline``, importable without torch.

    Raises:
        UsageError: no such form, or the name is taken by another class.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise UsageError(f"pipeline: expected a name of small letters, digits and -, found {name!r}")
    if not re.fullmatch(r"[\w.]+:\w+", target):
        raise UsageError(f"pipeline {name}: expected module:Class, found {target!r}")
    if PIPELINES.setdefault(name, target) != target:
        raise UsageError(f"pipeline {name}: there is one already, {PIPELINES[name]}; choose another name")


def pipeline_class(name: str) -> type[Pipeline]:
    """The class of a pipeline, whether or not what it needs is installed; UsageError that names the nearest."""
    if name not in PIPELINES:
        raise UsageError(f"--method: expected one of {', '.join(PIPELINES)}, found {name!r}{nearest(name, PIPELINES)}")
    module, _, kind = PIPELINES[name].partition(":")
    found: type[Pipeline] = getattr(import_module(module), kind)
    return found


def pipeline(name: str) -> Pipeline:
    """The pipeline of a name; UsageError where there is none, or what it needs is not installed."""
    found = pipeline_class(name)()
    found.check_installed()
    private_matplotlib()
    return found


def described() -> dict[str, dict[str, Any]]:
    """Packages that each pipeline still needs, and its presets; torch is not imported for it."""
    return {name: pipeline_class(name).described() for name in PIPELINES}


def load_weights(
    weights: str | None, schema: str | None = None, device: str = "cpu", threads: int | None = None
) -> Predictor:
    """A predictor of frames; arguments and errors as those of ``open_weights``, and UsageError for one of volumes."""
    predictor = open_weights(weights, schema, device, threads)
    if isinstance(predictor, VolumePredictor):
        raise UsageError(
            f"weights: expected what measures frames, found {weights}, which finds points in volumes "
            f"({predictor.schema.name}); use it with aop-pose predict on volumes"
        )
    return predictor


def open_weights(
    weights: str | None,
    schema: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    refine: str | None = None,
    engine: str = "onnx",
    precision: str = "f32",
    images: Sequence[np.ndarray] | None = None,
) -> AnyPredictor:
    """A predictor from what ``--weights`` may be: artefact name or file, run folder, checkpoint; None = the default.

    Args:
        weights: see above.
        schema: the schema that it has to be of.
        device: where it runs.
        threads: of an artefact, within one pass.
        refine: see ``Pipeline.predictor``: a run folder or checkpoint holds what is refined, an artefact does not.
        engine, precision, images: of an artefact, as ``weights.load`` takes them.

    Raises:
        UsageError: nothing of that name, corrupt, of another schema than asked for, or the training packages that a
            run or checkpoint needs are not installed; or a refinement that it does not have.
    """
    if weights is None or not is_trained(weights):
        if refine is not None:
            raise UsageError(
                f"--refine: expected --weights with a run folder or checkpoint, found {weights or 'nothing'}; train "
                "one or leave --refine out"
            )
        return load_as(schema, weights, device, threads, engine=engine, precision=precision, images=images)
    if (engine, precision) != ("onnx", "f32"):
        raise UsageError(f"--engine, --precision: they are of an artefact; run aop-pose export {weights} first")
    path = Path(weights)
    return of_schema(schema, pipeline(method_of(path)).predictor(path, device, refine), weights)


def method_of(path: Path) -> str:
    """The pipeline that made a run folder, the run folder around a checkpoint, or a lone checkpoint."""
    folder = path if path.is_dir() else path.parent.parent
    if path.is_dir() or (folder / RECORD).is_file():
        return str(read_record(folder)["method"])
    if not path.is_file():
        raise UsageError(f"weights: expected a run folder, a checkpoint or an artefact, found nothing at {path}")
    return _method_inside(path)


def _method_inside(path: Path) -> str:
    """The pipeline that a checkpoint names; without a name it is that which keeps a library's checkpoints."""
    foreign = next(name for name in PIPELINES if pipeline_class(name).foreign_checkpoints)
    if find_spec("torch") is None:
        return foreign
    import torch

    try:
        with warnings.catch_warnings():
            # torch warns of pickles that its restricted reader may not read: those are not of this project.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    # Fed with damaged bytes, torch raises nearly anything.
    except Exception:
        return foreign
    method = content.get("method") if isinstance(content, dict) else None
    return method if method in PIPELINES else foreign
