"""The official ScribblePrompt-UNet, frozen: its checkpoint in this project's network, or in upstream's where installed.

Wong et al., "ScribblePrompt: Fast and Flexible Interactive Segmentation for Any Biomedical Image", ECCV 2024. torch is
imported when the checkpoint is loaded, not before.
"""

from __future__ import annotations

import importlib
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.errors import UsageError
from aop_pose.fetching import SCRIBBLEPROMPT, Published, verify
from aop_pose.scribbles.segmenters.interface import segment
from aop_pose.scribbles.segmenters.network import OFFICIAL_FEATURES, build_network

NAME = "scribbleprompt"
PACKAGE = "scribbleprompt"
"""Upstream's own package, used where it is installed (it is not on the package index)."""


@attrs.frozen(eq=False)
class ScribblePrompt:
    """See :class:`interface.Segmenter`."""

    network: Any
    """``torch.nn.Module`` (B, 5, 128, 128) -> logits (B, 1, 128, 128)."""
    origin: str
    name: str = NAME

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


def load(checkpoint: Path, official: Published = SCRIBBLEPROMPT) -> ScribblePrompt:
    """The frozen segmenter of the official checkpoint.

    UsageError where torch is missing or the file is not the published one: its hash is checked before it is opened.
    """
    if find_spec("torch") is None:
        raise UsageError(f"{NAME} needs torch; install it with: pip install '.[train]'")
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
