"""Teachers for tests: real networks whose points lie within the picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from aop_pose.inference.predictor import Predictor
from aop_pose.pipelines.yolo import network as yolo


@contextmanager
def answering_inside() -> Iterator[None]:
    """Networks of a few steps point anywhere: their answers are drawn into the picture, and still follow from them."""
    real = yolo.predictor

    def inside(*given, **named):
        found = real(*given, **named)

        def network(inputs):
            output = found.network(inputs)
            apart = np.array([0, 0, 8, 3, 14, -6], np.float32)[None, :, None]
            output[:, 5:] = 28 + 16 * np.tanh((output[:, 5:] - 32) / 64) + apart
            return output

        return Predictor(found.contract, network, found.model_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yolo, "predictor", inside)
        yield
