"""In which numbers a network is trained."""

from __future__ import annotations

from typing import Literal

Precision = Literal["auto", "fp32", "bf16"]


def precision_of(asked: Precision, device: str) -> Literal["fp32", "bf16"]:
    """``auto`` takes bfloat16 where the processor or GPU multiplies it natively, else float32."""
    import torch

    if asked != "auto":
        return asked
    if device == "cpu":
        native = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return "bf16" if native else "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
