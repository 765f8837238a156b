"""``scribble-unet``: the stand-in that works offline, a narrower network trained by this project. Never ScribblePrompt.

Trained on phantoms and head outlines only (``tools/train_scribble_unet.py``), shipped as ONNX; torch is not needed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np

from aop_pose.errors import UsageError
from aop_pose.io.hashing import sha256_of
from aop_pose.scribbles.segmenters.interface import CHANNELS, SIDE, segment

NAME = "scribble-unet"


@attrs.frozen(eq=False)
class ScribbleUNet:
    """See :class:`interface.Segmenter`."""

    logits: Callable[[np.ndarray], np.ndarray]
    """Inputs (B, 5, 128, 128) float32 -> logits (B, 1, 128, 128) float32."""
    origin: str
    name: str = NAME

    def __call__(
        self,
        picture: np.ndarray,
        positive: np.ndarray,
        negative: np.ndarray,
        *,
        structure: str = "",
        points: np.ndarray | None = None,
    ) -> np.ndarray:
        return segment(self.logits, picture, positive, negative)


def load(file: Path, threads: int = 2) -> ScribbleUNet:
    """The frozen stand-in of an ONNX file; UsageError where it is not a network of these five channels."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime raises classes of its own that share no base but Exception.
        raise UsageError(f"{file}: expected the ONNX of {NAME}, found {' '.join(str(error).split())}") from error
    inputs = session.get_inputs()
    found = [list(one.shape) for one in inputs]
    expected = [len(CHANNELS), SIDE, SIDE]
    if len(found) != 1 or found[0][1:] != expected:
        raise UsageError(f"{file}: expected one input (B, {', '.join(map(str, expected))}), found {found}")
    return ScribbleUNet(
        lambda planes: session.run(None, {inputs[0].name: planes})[0],
        f"stand-in {sha256_of(file)[:8]}, trained on phantoms and hc18 outlines; not ScribblePrompt",
    )
