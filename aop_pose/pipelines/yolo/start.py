"""Where a network's first weights come from: ``--init auto | scratch | FILE | RUN``."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import torch

from aop_pose.errors import UsageError
from aop_pose.fetching import cache_folder
from aop_pose.io.hashing import sha256_of
from aop_pose.pipelines.yolo.network import read_checkpoint
from aop_pose.schemas import AOP

ENVIRONMENT = "AOP_POSE_INIT"


@attrs.frozen(eq=False)
class Start:
    """First weights, or none, and a line that says which."""

    model: torch.nn.Module | None
    words: str


def find_start(init: str, model: str) -> Start:
    """Resolve ``--init``.

    ``auto`` takes the file that the environment variable AOP_POSE_INIT names, else what Ultralytics downloads
    (``<model>-pose.pt``), else none; a file or run that was named must be there.

    Raises:
        UsageError: a named file or run is absent or not a checkpoint.
    """
    if init == "scratch":
        return Start(None, "scratch (random weights)")
    if init != "auto":
        return _from_file(_checkpoint(Path(init), "--init"))
    if named := os.environ.get(ENVIRONMENT):
        return _from_file(_checkpoint(Path(named), ENVIRONMENT))
    downloaded = _download(f"{model}-pose.pt")
    if downloaded is not None:
        return _from_file(downloaded)
    return Start(None, f"scratch (random weights): {model}-pose.pt could not be downloaded; name one with --init FILE")


def _checkpoint(path: Path, what: str) -> Path:
    file = path / "weights" / "best.pt" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"{what}: expected auto, scratch, a checkpoint or a run folder, found nothing at {file}")
    return file


def _from_file(path: Path) -> Start:
    return Start(read_checkpoint(path, "--init"), f"{path.name} (sha256 {sha256_of(path)[:12]})")


def _download(name: str) -> Path | None:
    """Ultralytics' published weights, in the cache folder; None where the network does not give them."""
    from ultralytics.utils.downloads import attempt_download_asset

    offline = os.environ.pop("YOLO_OFFLINE", None)
    try:
        file = Path(attempt_download_asset(cache_folder() / name))
    except Exception:
        return None
    finally:
        if offline is not None:
            os.environ["YOLO_OFFLINE"] = offline
    return file if file.is_file() else None


def transfer(start: Start, model: str, classes: int = 1) -> tuple[int, int]:
    """How many tensors of a pose network of that size the start fills whole, and how many the network has.

    The head differs between tasks; backbone and neck must fit whole. UsageError where they do not.
    """
    from ultralytics.nn.tasks import PoseModel

    wanted = PoseModel(f"{model}-pose.yaml", nc=classes, data_kpt_shape=[len(AOP.points), 2], verbose=False)
    if start.model is None:
        return 0, len(wanted.state_dict())
    # Ultralytics gives the head the width of the start's where only that differs, so it is asked rather than guessed.
    wanted.load(start.model, verbose=False)
    tensors, given = wanted.state_dict(), start.model.state_dict()
    fitting = {key for key, value in tensors.items() if key in given and given[key].shape == value.shape}
    body = [key for key in tensors if not key.startswith(f"model.{len(wanted.model) - 1}.")]
    if missing := [key for key in body if key not in fitting]:
        raise UsageError(
            f"--init: expected all {len(body)} backbone and neck tensors of {model}, "
            f"found {len(body) - len(missing)} in {start.words} (first that does not fit: {missing[0]})"
        )
    return len(fitting), len(tensors)
