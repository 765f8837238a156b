"""Settings of the augmentation (table 1) and of MoCo v2 pre-training (2.1, 3.2) of Krishna and Khan, IUGC 2025."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from aop_pose.pipelines.config import Config


class AugmentSettings(Config):
    """Table 1, with a probability of 0 where a kind is not wanted. Lengths are pixels of the network's input."""

    aug_elastic_p: float = Field(default=0.8, ge=0, le=1)
    """Probability of the warp: an affine map and an elastic displacement in one."""
    aug_affine: float = Field(default=10.0, ge=0)
    """Three corners of a square, two thirds of the picture wide, each move by up to this much along x and y."""
    aug_alpha: float = Field(default=5.0, ge=0)
    """The elastic displacement: uniform noise in [-1, 1], smoothed by ``aug_sigma``, times this. With the paper's 5 and
    10 that is 0.1 px: the affine part is what moves anything."""
    aug_sigma: float = Field(default=10.0, gt=0)
    aug_tone_p: float = Field(default=0.5, ge=0, le=1)
    """Probability of a change of brightness and contrast."""
    aug_brightness: float = Field(default=0.2, ge=0, le=1)
    aug_contrast: float = Field(default=0.2, ge=0, le=1)
    aug_blur_p: float = Field(default=0.5, ge=0, le=1)
    aug_blur_least: int = Field(default=3, ge=1)
    """Width of the smallest Gaussian kernel; its weights follow from it (OpenCV: 1 2 1 and 1 4 6 4 1 for 3 and 5)."""
    aug_blur_most: int = Field(default=5, ge=1)
    aug_speckle_p: float = Field(default=0.5, ge=0, le=1)
    aug_speckle: float = Field(default=0.01, ge=0, le=1)
    """Standard deviation of multiplicative Gaussian noise."""

    @model_validator(mode="after")
    def _check_augmentation(self) -> Self:
        if self.aug_blur_least % 2 == 0 or self.aug_blur_most % 2 == 0 or self.aug_blur_least > self.aug_blur_most:
            raise ValueError("aug_blur_least and aug_blur_most have to be odd, the first not above the second")
        if self.aug_alpha > self.aug_sigma**2 / 2:
            # Points are moved by inverting the displacement, which a folded picture does not allow.
            raise ValueError(f"aug_alpha above aug_sigma^2 / 2 = {self.aug_sigma**2 / 2:g} folds the picture over")
        return self


class MocoSettings(AugmentSettings):
    """Defaults are the paper's."""

    moco_image_size: int | None = Field(default=None, ge=32, multiple_of=32)
    """Side of the input while pre-training; None = ``image_size``."""
    moco_epochs: int = Field(default=25, ge=1)
    moco_batch: int = Field(default=4, ge=2)
    """Frames of a step. A last batch that is not full is left out: every step enqueues as many keys."""
    moco_queue: int = Field(default=8192, ge=1)
    """Negatives; a multiple of ``moco_batch`` x positions of the last map."""
    moco_momentum: float = Field(default=0.999, ge=0, lt=1)
    """Of the key encoder (equation 5)."""
    moco_temperature: float = Field(default=0.2, gt=0)
    moco_pairs: Literal["paper", "matched"] = "paper"
    """What a query is paired with: the key at the same position of a differently warped view (``paper``), or the key at
    the position that shows the same anatomy, through both warps (``matched``)."""
    moco_hidden: int = Field(default=256, ge=1)
    """Channels between the two 1 x 1 convolutions of the projection head."""
    moco_features: int = Field(default=128, ge=2)
    """Length of an embedding."""
    moco_lr_stage4: float = Field(default=1e-4, gt=0)
    """Of HRNet's stage 4 or what answers to it; of all layers where the encoder names no stages."""
    moco_lr_stage3: float = Field(default=0.5e-4, gt=0)
    moco_lr_rest: float = Field(default=0.1e-4, gt=0)
    """Of every other layer of the encoder."""
    moco_lr_head: float = Field(default=1e-3, gt=0)
    moco_weight_decay: float = Field(default=1e-6, ge=0)
    moco_holdout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the frames, in whole groups of near-duplicates, that is held out for the collapse check."""
