"""Pictures for the tests of reading: written by Pillow, read as frames or refused in a line."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aop_pose.core.frame import Frame
from aop_pose.errors import UnreadableError
from aop_pose.io.discover import Entry
from aop_pose.io.images import read_frames

GRAY = np.random.default_rng(0).integers(0, 256, (24, 31), dtype=np.uint8)


def frames(path: Path) -> list[Frame]:
    return list(read_frames(Entry(path, path.name)))


def refusal(path: Path) -> str:
    """The line that a file is refused with."""
    with pytest.raises(UnreadableError) as caught:
        frames(path)
    reason = str(caught.value)
    assert "\n" not in reason
    assert len(reason) < 160
    return reason


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
