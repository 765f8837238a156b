"""Where a network's first weights come from: ``--init auto | scratch | FILE | RUN``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
import torch

from aop_pose.errors import UsageError

ENVIRONMENT = "AOP_POSE_INIT"


@attrs.frozen(eq=False)
class Start:
    """First weights, or none, and a line that says which."""

    model: torch.nn.Module | None
    words: str


def find_start(init: str, model: str, out: Path) -> Start:
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
    downloaded = _download(f"{model}-pose.pt", out)
    if downloaded is not None:
        return _from_file(downloaded)
    return Start(None, f"scratch (random weights): {model}-pose.pt could not be downloaded; name one with --init FILE")


def _checkpoint(path: Path, what: str) -> Path:
    file = path / "weights" / "best.pt" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"{what}: expected auto, scratch, a checkpoint or a run folder, found nothing at {file}")
    return file


def _from_file(path: Path) -> Start:
    from ultralytics.nn.tasks import load_checkpoint

    from aop_pose.artefacts import sha256_of

    try:
        model, _ = load_checkpoint(path)
    except Exception as error:
        raise UsageError(f"--init: {path} is not an Ultralytics checkpoint ({type(error).__name__})") from None
    return Start(model, f"{path.name} (sha256 {sha256_of(path)[:12]})")


def _download(name: str, folder: Path) -> Path | None:
    """Ultralytics' published weights, into the run folder; None where the network does not give them."""
    from ultralytics.utils.downloads import attempt_download_asset

    offline = os.environ.pop("YOLO_OFFLINE", None)
    try:
        file = Path(attempt_download_asset(folder / name))
    except Exception:
        return None
    finally:
        if offline is not None:
            os.environ["YOLO_OFFLINE"] = offline
    return file if file.is_file() else None


def transferred(start: torch.nn.Module | None, trained: torch.nn.Module) -> tuple[int, int]:
    """How many of the network's tensors have a counterpart of the same name and shape in ``start``, and of how many."""
    wanted: dict[str, Any] = trained.state_dict()
    given: dict[str, Any] = start.float().state_dict() if start is not None else {}
    return sum(key in given and given[key].shape == value.shape for key, value in wanted.items()), len(wanted)
