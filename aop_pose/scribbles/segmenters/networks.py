"""The U-Net of ScribblePrompt, in torch; imported only by what trains or loads a torch checkpoint.

Wong et al., "ScribblePrompt: Fast and Flexible Interactive Segmentation for Any Biomedical Image", ECCV 2024.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.errors import UsageError
from aop_pose.inference.fetch import SCRIBBLEPROMPT, Published, verify
from aop_pose.provenance import sha256_of
from aop_pose.scribbles.segmenters.base import CHANNELS, SIDE, segment

OFFICIAL_FEATURES = (192, 192, 192, 192)
"""Features per level of the published checkpoint."""


def build_network(features: Sequence[int] = OFFICIAL_FEATURES) -> Any:
    """A ``torch.nn.Module``: (B, 5, S, S) -> logits (B, 1, S, S), S a multiple of 2 to the number of levels.

    The keys of its state dict are those of the official checkpoint: ``downs.N.conv.0`` (convolution) and
    ``downs.N.conv.1`` (PReLU), ``ups.N.conv.…`` at odd N (the even ones are upsamplings without weights),
    ``bottleneck.conv.…`` and ``final_conv.conv.0``.
    """
    import torch
    from torch import nn

    class Block(nn.Module):
        """A convolution that keeps the size, then PReLU; the last one of the network goes without."""

        def __init__(self, inside: int, outside: int, kernel: int = 3, activation: bool = True) -> None:
            super().__init__()
            layers: list[nn.Module] = [nn.Conv2d(inside, outside, kernel, padding=kernel // 2)]
            self.conv = nn.Sequential(*layers, *([nn.PReLU()] if activation else []))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x)

    class PromptedUNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [len(CHANNELS), *features]
            self.downs = nn.ModuleList(Block(above, below) for above, below in zip(widths, features, strict=False))
            self.bottleneck = Block(features[-1], features[-1])
            self.ups = nn.ModuleList()
            for width in reversed(features):
                # Twice the width: the skip connection comes first, what was upsampled after it.
                self.ups.extend([nn.UpsamplingBilinear2d(scale_factor=2), Block(2 * width, width)])
            self.final_conv = Block(features[0], 1, kernel=1, activation=False)
            self.pool = nn.MaxPool2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            skips = []
            for down in self.downs:
                skips.append(down(x))
                x = self.pool(skips[-1])
            x = self.bottleneck(x)
            for enlarge, block in zip(self.ups[::2], self.ups[1::2], strict=True):
                x = block(torch.cat([skips.pop(), enlarge(x)], dim=1))
            return self.final_conv(x)

    return PromptedUNet()


SCRIBBLEPROMPT_NAME = "scribbleprompt"
PACKAGE = "scribbleprompt"
"""Upstream's own package, used where it is installed (it is not on the package index)."""


@attrs.frozen(eq=False)
class ScribblePrompt:
    """See :class:`interface.Segmenter`."""

    network: Any
    """``torch.nn.Module`` (B, 5, 128, 128) -> logits (B, 1, 128, 128)."""
    origin: str
    name: str = SCRIBBLEPROMPT_NAME

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """Inputs (B, 5, 128, 128) float32 -> logits (B, 1, 128, 128) float32, without gradients."""
        import torch

        with torch.inference_mode():
            return self.network(torch.from_numpy(inputs)).numpy()

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


def load_scribbleprompt(checkpoint: Path, official: Published = SCRIBBLEPROMPT) -> ScribblePrompt:
    """The frozen segmenter of the official checkpoint.

    UsageError where torch is missing or the file is not the published one: its hash is checked before it is opened.
    """
    if find_spec("torch") is None:
        raise UsageError(f"{SCRIBBLEPROMPT_NAME} needs torch; install it with: pip install 'aop-pose[train]'")
    verify(official, checkpoint)
    weights, passed_over = f"official weights {official.sha256[:8]}", ""
    if find_spec(PACKAGE) is not None:
        try:
            return ScribblePrompt(_upstream(checkpoint), f"{weights} in upstream's package")
        except ImportError as error:
            passed_over = f" (upstream's package does not import: {error})"
    network = load_state(build_network(OFFICIAL_FEATURES), checkpoint)
    return ScribblePrompt(network, f"{weights} in this project's network{passed_over}")


def load_state(network: Any, checkpoint: Path) -> Any:
    """Put a plain state dict into a network and freeze it; UsageError lists every tensor that does not fit."""
    import torch

    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise UsageError(f"{checkpoint}: expected a plain state dict, found {type(error).__name__}") from None
    if not isinstance(state, dict):
        raise UsageError(f"{checkpoint}: expected a plain state dict, found {type(state).__name__}")
    own = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in state.items()}
    wrong = [
        f"{key}: {found.get(key, 'missing')} in file -> {own.get(key, 'unknown')} in network"
        for key in sorted(own.keys() | found.keys())
        if own.get(key) != found.get(key)
    ]
    if wrong:
        raise UsageError(f"{checkpoint}: expected the state dict of ScribblePrompt-UNet, found {'; '.join(wrong)}")
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def _upstream(checkpoint: Path) -> Any:
    """Upstream's network, loaded by upstream's own class from the verified file."""
    original = importlib.import_module(PACKAGE).ScribblePromptUNet

    class FromCache(original):  # type: ignore[misc, valid-type]
        # Upstream looks for its checkpoint below the working folder.
        weights = {"v1": str(checkpoint)}  # noqa: RUF012

    return FromCache(version="v1", device="cpu").model.eval().requires_grad_(False)


STAND_IN = "scribble-unet"


@attrs.frozen(eq=False)
class ScribbleUNet:
    """See :class:`interface.Segmenter`."""

    logits: Callable[[np.ndarray], np.ndarray]
    """Inputs (B, 5, 128, 128) float32 -> logits (B, 1, 128, 128) float32."""
    origin: str
    name: str = STAND_IN

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


def load_stand_in(file: Path, threads: int = 2) -> ScribbleUNet:
    """The frozen stand-in of an ONNX file; UsageError where it is not a network of these five channels."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime raises classes of its own that share no base but Exception.
        raise UsageError(f"{file}: expected the ONNX of {STAND_IN}, found {' '.join(str(error).split())}") from error
    inputs = session.get_inputs()
    found = [list(one.shape) for one in inputs]
    expected = [len(CHANNELS), SIDE, SIDE]
    if len(found) != 1 or found[0][1:] != expected:
        raise UsageError(f"{file}: expected one input (B, {', '.join(map(str, expected))}), found {found}")
    return ScribbleUNet(
        lambda planes: session.run(None, {inputs[0].name: planes})[0],
        f"stand-in {sha256_of(file)[:8]}, trained on phantoms and hc18 outlines; not ScribblePrompt",
    )
