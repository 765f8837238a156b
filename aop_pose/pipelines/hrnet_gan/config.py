"""Settings of the adversarially fine-tuned heatmap network of Krishna and Khan (IUGC 2025)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from aop_pose.pipelines.config import Config, FrameConfig


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
    """Standard deviation of the smoothing of the elastic displacement."""
    aug_tone_p: float = Field(default=0.5, ge=0, le=1)
    """Probability of a change of brightness and contrast."""
    aug_brightness: float = Field(default=0.2, ge=0, le=1)
    """Largest change of gray, in shares of white."""
    aug_contrast: float = Field(default=0.2, ge=0, le=1)
    """Largest relative change of contrast."""
    aug_blur_p: float = Field(default=0.5, ge=0, le=1)
    """Probability of a Gaussian blur."""
    aug_blur_least: int = Field(default=3, ge=1)
    """Width of the smallest Gaussian kernel; its weights follow from it (OpenCV: 1 2 1 and 1 4 6 4 1 for 3 and 5)."""
    aug_blur_most: int = Field(default=5, ge=1)
    """Width of the largest Gaussian kernel."""
    aug_speckle_p: float = Field(default=0.5, ge=0, le=1)
    """Probability of speckle."""
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
    """Passes over the frames in pre-training."""
    moco_batch: int = Field(default=4, ge=2)
    """Frames of a step. A last batch that is not full is left out: every step enqueues as many keys."""
    moco_queue: int = Field(default=8192, ge=1)
    """Negatives; a multiple of ``moco_batch`` x positions of the last map."""
    moco_momentum: float = Field(default=0.999, ge=0, lt=1)
    """Of the key encoder (equation 5)."""
    moco_temperature: float = Field(default=0.2, gt=0)
    """Of the softmax over keys."""
    moco_pairs: Literal["paper", "matched"] = "paper"
    """The partner of a query: the key at the same position of a differently warped view (``paper``), or the key at
    the position that shows the same anatomy, through both warps (``matched``)."""
    moco_hidden: int = Field(default=256, ge=1)
    """Channels between the two 1 x 1 convolutions of the projection head."""
    moco_features: int = Field(default=128, ge=2)
    """Length of an embedding."""
    moco_lr_stage4: float = Field(default=1e-4, gt=0)
    """Of HRNet's stage 4 or what answers to it; of all layers where the encoder names no stages."""
    moco_lr_stage3: float = Field(default=0.5e-4, gt=0)
    """Learning rate of HRNet's stage 3."""
    moco_lr_rest: float = Field(default=0.1e-4, gt=0)
    """Of every other layer of the encoder."""
    moco_lr_head: float = Field(default=1e-3, gt=0)
    """Learning rate of the projection head."""
    moco_weight_decay: float = Field(default=1e-6, ge=0)
    """Of the optimiser in pre-training."""
    moco_holdout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the frames, in whole groups of near-duplicates, that is held out for the collapse check."""


AUGMENTATION = frozenset(AugmentSettings.model_fields)
"""Both stages change their frames by it."""

PRESETS = Path(__file__).parent / "presets"
REDUCTION = 32
"""Input pixels per pixel of the encoder's last map: what five upsamplings undo."""
BLOCKS = 5
TRAIN_ONLY = frozenset(
    {
        "output", "decoder", "attention", "adversary", "discriminator", "gan", "coordinate_rule", "sigma", "lambda_h",
        "lambda_c", "lambda_adv", "lambda_e", "frozen", "thaw", "epochs", "batch", "lr_generator", "lr_discriminator",
        "weight_decay", "schedule", "averaging", "clip", "holdout", "patient", "phantoms", "threshold", "decode",
    }
)  # fmt: skip


class HrnetConfig(MocoSettings, FrameConfig):
    """One field a setting; the presets say where each number comes from."""

    only: ClassVar = {"train": TRAIN_ONLY, "pretrain": frozenset(MocoSettings.model_fields) - AUGMENTATION}

    image_size: int = Field(default=256, ge=2 * REDUCTION)
    """Side of the network's square input, in pixels."""
    encoder: str = "hrnet_w18_small"
    """Name of a timm network that gives feature maps, the last of them at 1/32 of the input."""
    widened: bool = True
    """HRNet: its last branch as the first part of its classification head widens it, to 1024 channels; without, the
    branch itself. No other encoder asks for it."""
    output: Literal["heatmaps", "coordinates"] = "heatmaps"
    """The output: a map a point, or the coordinates themselves."""
    decoder: tuple[Annotated[int, Field(ge=1)], ...] = (512, 256, 128, 64, 32)
    """Channels of the five blocks (equation 7); of them only the first counts for output coordinates."""
    attention: bool = True
    """CBAM in the blocks (equation 6)."""
    adversary: bool = True
    """The discriminator (equations 9 to 12)."""
    discriminator: int = Field(default=64, ge=1)
    """Channels of its first convolution; the next three have 2, 4 and 8 times as many (equation 10)."""
    gan: Literal["lsgan", "bce"] = "lsgan"
    """``bce``: cross-entropy in the place of the squares, as the authors' code has it."""
    coordinate_rule: Literal["relu", "softmax10"] = "relu"
    """Equation 8's way to a map of sum 1: ReLU and division, or the softmax of ten times the map (the authors' code),
    by which even a perfect map does not return its centre."""
    sigma: float = Field(default=5.0, gt=0)
    """Of the heatmaps, in pixels of the input."""
    lambda_h: float = Field(default=1.0, ge=0)
    """Weight of the squared error of the maps (equation 13)."""
    lambda_c: float = Field(default=10.0, ge=0)
    """Of the squared error of the coordinates (equation 14), which are shares of the input."""
    lambda_adv: float = Field(default=0.01, ge=0)
    """Of what the discriminator says (equation 12)."""
    lambda_e: float = Field(default=0.001, ge=0)
    """Of the entropy of the maps (equation 16)."""
    frozen: bool = False
    """The encoder keeps its first weights, until ``thaw`` frees parts of it."""
    thaw: tuple[tuple[Annotated[int, Field(ge=0)], str], ...] = ()
    """With ``frozen``: after how many epochs which layers of the encoder learn, by the beginning of their names."""
    epochs: int = Field(default=36, ge=1)
    """Passes over the training data."""
    batch: int = Field(default=8, ge=1)
    """Frames of a step."""
    lr_generator: float = Field(default=3e-4, gt=0)
    """Learning rate of the network that finds the points."""
    lr_discriminator: float = Field(default=5e-5, gt=0)
    """Learning rate of the discriminator."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Of the optimiser: the share by which weights shrink a step, times the learning rate."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Of the learning rate over the epochs."""
    decode: Literal["argmax", "soft-argmax", "subpixel"] = "soft-argmax"
    """The rule by which maps are read as points; ``soft-argmax`` is equation 8."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.image_size % REDUCTION:
            raise ValueError(f"image_size has to be a multiple of {REDUCTION}")
        if len(self.decoder) != BLOCKS:
            raise ValueError(f"decoder has to name the channels of {BLOCKS} blocks, found {len(self.decoder)}")
        if not self.widened and not self.encoder.startswith("hrnet"):
            raise ValueError("widened=false is for the encoders hrnet_...: set widened=true")
        if self.adversary and self.output == "coordinates":
            raise ValueError("adversary judges maps: it goes with output heatmaps")
        if self.thaw and not self.frozen:
            raise ValueError("thaw frees layers of a frozen encoder: set frozen")
        if late := [begin for begin, _ in self.thaw if begin >= self.epochs]:
            raise ValueError(f"thaw after {late[0]} epochs never comes in a run of {self.epochs}: set thaw too")
        return self
