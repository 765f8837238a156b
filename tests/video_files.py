"""Videos made for tests."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def save_video(path: Path, frames: Sequence[np.ndarray], rate: float = 25.0, code: str = "MJPG") -> Path:
    """Gray frames as a video."""
    height, width = frames[0].shape
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*code), rate, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    writer.release()
    return path
