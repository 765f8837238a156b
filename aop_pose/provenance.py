"""Facts of a run: versions from the installed records (importing some takes seconds), memory, hashes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
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
"""The packages that numbers depend on -> names under which each may be installed."""
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


def peak_memory_mb() -> float | None:
    """Most memory this process has held, in MB of 2^20 bytes; None on Windows, which does not say it this way."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: on Linux a new program inherits the peak of the one that started it.
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


ONE_HEAP = (-8, 1)
"""``M_ARENA_MAX``: all threads that are started from now on take memory from one heap. With one each, what a thread has
freed is of no use to another."""


def set_malloc(option: int, value: int) -> None:
    """``mallopt`` of glibc; elsewhere nothing changes."""
    # Windows has no such door, other C libraries no such function.
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(option, value)


def memory_gib() -> float | None:
    """Memory of this machine in GiB of 2^30 bytes; None where the system does not say, as on Windows."""
    if not hasattr(os, "sysconf") or not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys():
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
