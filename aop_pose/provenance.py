"""Versions of this package and of those it stands on, from the installed records: importing some takes seconds."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import aop_pose

MEASURING = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "numpy": ("numpy",),
    "opencv": (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python-headless",
        "opencv-contrib-python",
    ),
}
"""What numbers depend on -> names under which it may be installed."""
TRAINING = {
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "lightning": ("lightning",),
    "timm": ("timm",),
    "onnx": ("onnx",),
    "ultralytics": ("ultralytics-opencv-headless", "ultralytics"),
}


def installed(packages: Mapping[str, tuple[str, ...]]) -> dict[str, str | None]:
    """Version of each package, None where it is not installed."""
    return {name: _first_version(names) for name, names in packages.items()}


def measuring_versions() -> dict[str, str | None]:
    """This package, Python, and what measuring stands on."""
    return {"aop_pose": aop_pose.__version__, "python": platform.python_version(), **installed(MEASURING)}


def _first_version(names: tuple[str, ...]) -> str | None:
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
