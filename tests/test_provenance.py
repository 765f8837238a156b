"""Versions are those that the packages say of themselves."""

import os
import sys
from pathlib import Path

import cv2
import numpy
import onnxruntime

from aop_pose.provenance import installed, measuring_versions, memory_gib, peak_memory_mb


def test_what_measuring_stands_on():
    found = measuring_versions()
    assert found["numpy"] == numpy.__version__
    assert found["onnxruntime"] == onnxruntime.__version__
    # OpenCV's package has a fourth number.
    assert found["opencv"].startswith(cv2.__version__.split("-")[0])


def test_the_first_name_that_is_installed_counts_and_nothing_is_none():
    assert installed({"a": ("no-such-package", "numpy"), "b": ("no-such-package",)}) == {
        "a": numpy.__version__,
        "b": None,
    }


def test_memory_is_that_of_this_process_and_machine():
    peak, there = peak_memory_mb(), memory_gib()
    if peak is not None and there is not None:
        assert 10 < peak < 1024 * there


def test_a_system_that_does_not_say_how_much_memory_there_is(monkeypatch):
    """As Windows: no files of /proc, no module resource, no sysconf."""
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert peak_memory_mb() is None
    assert memory_gib() is None
