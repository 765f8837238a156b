"""The pipelines, by name. What each module offers stands in ``Pipeline``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol, cast

from aop_pose.errors import UsageError
from aop_pose.inference.predictor import Predictor
from aop_pose.inference.volume_predictor import VolumePredictor
from aop_pose.inference.weights import AnyPredictor, load_any
from aop_pose.pipelines.isolation import private_matplotlib

PIPELINES = {
    "yolo": "aop_pose.pipelines.yolo.pipeline",
    "unet": "aop_pose.pipelines.unet.pipeline",
    "hrnet-gan": "aop_pose.pipelines.hrnet_gan.pipeline",
    "fetusmap": "aop_pose.pipelines.fetusmap.pipeline",
}
PACKAGES = {
    "yolo": ("torch", "ultralytics"),
    "unet": ("torch", "torchvision", "lightning"),
    "hrnet-gan": ("torch", "torchvision", "lightning", "timm"),
    "fetusmap": ("torch", "lightning"),
}
"""What each needs to be installed for training and for checkpoints."""


class Pipeline(Protocol):
    """The verbs every pipeline answers."""

    pretrain: Callable[..., Any]
    train: Callable[..., Any]
    export: Callable[..., AnyPredictor]
    predictor: Callable[..., AnyPredictor]


def pipeline(method: str) -> Pipeline:
    """The pipeline of that name; UsageError lists those there are, or says how to install what they need."""
    if method not in PIPELINES:
        raise UsageError(f"--method: expected one of {', '.join(PIPELINES)}, found {method!r}")
    if missing := [package for package in PACKAGES[method] if find_spec(package) is None]:
        raise UsageError(
            f"training and checkpoints of --method {method} need {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed; install with: pip install '.[train]'"
        )
    private_matplotlib()
    return cast(Pipeline, import_module(PIPELINES[method]))


def described() -> dict[str, dict[str, Any]]:
    """What each pipeline still needs to be installed, and its presets; nothing of it is imported."""
    here = Path(__file__).parent
    return {
        method: {
            "not_installed": [package for package in PACKAGES[method] if find_spec(package) is None],
            "presets": sorted(path.stem for path in here.joinpath(module.split(".")[2], "presets").glob("*.yaml")),
        }
        for method, module in PIPELINES.items()
    }


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
    weights: str | None, schema: str | None = None, device: str = "cpu", threads: int | None = None
) -> AnyPredictor:
    """A predictor from what ``--weights`` may be: artefact name or file, run folder, checkpoint; None = the default.

    Raises:
        UsageError: nothing of that name, corrupt, of another schema than asked for, or the training packages that a
            run or checkpoint needs are not installed.
    """
    path = Path(weights) if weights is not None else None
    if path is not None and (path.is_dir() or path.suffix == ".pt"):
        predictor = pipeline(method_of(path)).predictor(path, device=device)
    else:
        predictor = load_any(weights, schema or "aop", device, threads)
    if schema not in (None, predictor.schema.name):
        raise UsageError(f"weights: expected schema {schema}, found {predictor.schema.name} in {weights}")
    return predictor


def open_refining(
    weights: str | None, schema: str | None = None, device: str = "cpu", on: str = "paper"
) -> VolumePredictor:
    """A predictor that refines its network for each volume (FetusMapV2, section 3.3).

    ``on``: the points that poses are registered on, see ``refine.RefineSettings``.

    Raises:
        UsageError: not a run folder or checkpoint of ``fetusmap``, or one that cannot be refined.
    """
    path = Path(weights) if weights is not None else None
    if path is None or not (path.is_dir() or path.suffix == ".pt") or method_of(path) != "fetusmap":
        raise UsageError(
            "--refine: expected --weights with a run folder or checkpoint of --method fetusmap, "
            f"found {weights or 'nothing'}; train one or leave --refine out"
        )
    pipeline("fetusmap")  # says what is not installed
    from aop_pose.pipelines.fetusmap.refine import RefineSettings, refining_predictor

    if on not in ("paper", "surest"):
        raise UsageError(f"--refine-on: expected paper or surest, found {on!r}")
    predictor = refining_predictor(path, device, RefineSettings.model_validate({"on": on}))
    if schema not in (None, predictor.schema.name):
        raise UsageError(f"weights: expected schema {schema}, found {predictor.schema.name} in {weights}")
    return predictor


def method_of(path: Path) -> str:
    """Which pipeline made a run folder, the run folder around a checkpoint, or a lone checkpoint."""
    from aop_pose.pipelines.run import RECORD, read_record

    folder = path if path.is_dir() else path.parent.parent
    if path.is_dir() or (folder / RECORD).is_file():
        return str(read_record(folder)["method"])
    if not path.is_file():
        raise UsageError(f"weights: expected a run folder, a checkpoint or an artefact, found nothing at {path}")
    return _method_inside(path)


def _method_inside(path: Path) -> str:
    """What a checkpoint says of itself: those of this project are plain tensors, Ultralytics' are pickled networks."""
    if find_spec("torch") is None:
        return "yolo"
    import torch

    try:
        with warnings.catch_warnings():
            # torch warns of pickles that its restricted reader may not read: those are not of this project.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, ValueError, EOFError, OSError, KeyError):
        return "yolo"
    method = content.get("method") if isinstance(content, dict) else None
    return method if method in PIPELINES else "yolo"
