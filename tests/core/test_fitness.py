"""Frames that must never be measured."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from aop_pose.core.frame import Frame, is_blank, is_noise
from aop_pose.io.images import read_frame


def noise(height: int, width: int, spread: float = 40.0) -> Frame:
    values = np.random.default_rng(0).normal(100, spread, (height, width))
    return Frame(values.clip(0, 255).astype(np.uint8))


def speckle(height: int, width: int) -> Frame:
    return Frame(cv2.GaussianBlur(noise(height, width, spread=100.0).pixels, (0, 0), 1.5))


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_constant_frames_are_blank(level: int) -> None:
    assert is_blank(np.full((256, 256), level, np.uint8))


def test_nearly_constant_frames_are_blank() -> None:
    assert is_blank(noise(256, 256, spread=1.0).pixels)
    one_bright = np.zeros((256, 256), np.uint8)
    one_bright[100, 100] = 255
    assert is_blank(one_bright)
    assert Frame(one_bright).unfit_reason().startswith("blank")


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((1, 1), "too small"),
        ((3, 5000), "too small"),
        ((31, 200), "too small"),
        ((32, 256), ""),
        ((32, 257), "too narrow"),
        ((257, 32), "too narrow"),
        ((256, 256), ""),
    ],
)
def test_size_and_elongation(size: tuple[int, int], said: str) -> None:
    reason = speckle(*size).unfit_reason()
    assert reason.startswith(said)
    assert bool(reason) == bool(said)


@pytest.mark.parametrize("size", [(256, 256), (1000, 700), (40, 300)])
def test_white_noise_is_no_picture(size: tuple[int, int]) -> None:
    assert noise(*size).unfit_reason().startswith("noise")
    assert not is_noise(speckle(*size).pixels)


def test_neighbours_need_to_be_alike_in_one_direction_only() -> None:
    lines = np.random.default_rng(0).integers(0, 256, (256, 1), dtype=np.uint8)
    assert not is_noise(np.repeat(lines, 256, axis=1))
    assert not is_noise(np.repeat(lines.T, 256, axis=0))


def test_no_real_frame_is_unfit(shared_data: Path) -> None:
    paths = sorted((shared_data / "psfhs/images").glob("*.png"))[::10]
    assert paths
    assert [path.name for path in paths if read_frame(path).unfit_reason()] == []
