"""Versions are those that the packages say of themselves."""

import cv2
import numpy
import onnxruntime

from aop_pose.provenance import installed, measuring_versions


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
