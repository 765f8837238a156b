"""The first weights of Ultralytics' networks: ``--init auto | scratch | FILE | RUN``."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import attrs
import torch

from aop_pose.errors import UsageError
from aop_pose.inference.fetch import cache_folder
from aop_pose.provenance import sha256_of

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


def read_checkpoint(path: Path, what: str) -> Any:
    """Any network of Ultralytics from a file, in float32 and evaluation mode.

    Only through its allow-listed loader, which ``isolation.isolate`` turns on: a file that holds anything else is
    refused unexecuted, with a UsageError that begins with ``what``.
    """
    from ultralytics.nn.tasks import load_checkpoint as load

    try:
        with warnings.catch_warnings():
            # torch warns of numbers in a pickle that its restricted reader skips.
            warnings.simplefilter("ignore", UserWarning)
            return load(path)[0]
    except Exception as error:
        raise UsageError(f"{what}: {path} is not an Ultralytics checkpoint ({type(error).__name__})") from None
