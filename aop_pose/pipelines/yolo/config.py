"""Settings of the YOLO pose stage."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from aop_pose.pipelines.config import SharedConfig

PRESETS = Path(__file__).parent / "presets"
METHOD = "yolo"
"""Of a run that is made of several: each stage has a place of its own below it."""


class YoloConfig(SharedConfig):
    """One field a setting; the presets say where each number comes from."""

    only: ClassVar = {
        "train": frozenset(
            {
                "oks_sigma", "box_margin", "gain_pose", "phantoms", "threshold", "keypoint_loss", "weighted_terms",
                "dynamic_draws", "decode",
            }
        ),
        "pretrain": frozenset({"box_loss"}),
    }  # fmt: skip

    model: str = Field(default="yolo11n", pattern=r"^yolo11[nsmlx]$")
    """Size of the YOLO11 network."""
    image_size: int = Field(default=256, ge=32, multiple_of=32)
    """Side of the network's square input, in pixels."""
    batch: int = Field(default=16, ge=1)
    """Frames of a step."""
    optimizer: Literal["SGD", "Adam", "AdamW"] = "AdamW"
    """The rule by which weights are changed."""
    lr0: float = Field(default=1e-3, gt=0)
    """First learning rate."""
    lrf: float = Field(default=0.01, gt=0)
    """Last learning rate over the first."""
    cosine: bool = True
    """Cosine decay; else linear."""
    momentum: float = Field(default=0.937, ge=0, lt=1)
    """Of SGD; the first moment of Adam and AdamW."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """Of the optimiser: the share by which weights shrink a step, times the learning rate."""
    warmup_epochs: float = Field(default=3.0, ge=0)
    """Epochs over which the learning rate rises to its height."""
    oks_sigma: float = Field(default=0.05, gt=0)
    """Of each point in the OKS loss: the distance that counts as near, in shares of the box."""
    box_margin: float = Field(default=0.15, ge=0)
    """Share by which the box around the points is wider on each side."""
    gain_box: float = Field(default=7.5, ge=0)
    """Weight of the box term."""
    gain_class: float = Field(default=0.5, ge=0)
    """Weight of the class term."""
    gain_dfl: float = Field(default=1.5, ge=0)
    """Weight of the distribution focal term of boxes."""
    gain_pose: float = Field(default=12.0, ge=0)
    """Weight of the keypoint term."""
    degrees: float = Field(default=0.0, ge=0, le=180)
    """Largest turn of a training frame, either way."""
    translate: float = Field(default=0.1, ge=0, le=1)
    """Largest shift of a training frame, in shares of its side."""
    scale: float = Field(default=0.5, ge=0, lt=1)
    """A training frame is scaled by 1 - scale to 1 + scale."""
    shear: float = Field(default=0.0, ge=0, le=45)
    """Largest shear of a training frame, in degrees."""
    flip: float = Field(default=0.0, ge=0, le=1)
    """Probability of a left-right mirror. Never up-down."""
    brightness: float = Field(default=0.4, ge=0, le=1)
    """Gray is multiplied by 1 - brightness to 1 + brightness."""
    gamma: float = Field(default=0.0, ge=0, lt=1)
    """Gray values are raised to a power between 1 / (1 + gamma) and 1 + gamma."""
    speckle: float = Field(default=0.0, ge=0, le=1)
    """Largest standard deviation of multiplicative noise."""
    phantoms: int = Field(default=0, ge=0)
    """Made-up frames added to the training frames."""
    box_loss: Literal["ciou", "mse"] = "ciou"
    """Box term of detection pre-training: Ultralytics' own, or equation 10 of the paper."""
    keypoint_loss: Literal["oks", "mse"] = "oks"
    """Keypoint term: Ultralytics' own, or equation 12 of the paper; ``loss.SquaredPointLoss`` says in which unit."""
    weighted_terms: Literal["all", "points", "points-only"] = "all"
    """A pseudo-label's weight multiplies: its whole loss, or its keypoint term alone while its box and class
    terms count in full (``points``) or not at all (``points-only``: equation 13 as printed has none)."""
    dynamic_draws: int = Field(default=1, ge=1)
    """Passes after noise for each weight that is computed anew during training."""
    workers: int = Field(default=4, ge=0)
    """Processes that read and warp training frames beside the one that trains, as far as there are cores."""
    decode: Literal["best", "weighted"] = "best"
    """The point of a frame: of the surest detection, or the mean of detections by their scores."""
