"""Settings of the adversarially fine-tuned heatmap network of Krishna and Khan (IUGC 2025)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from aop_pose.pipelines.hrnet_gan.moco_settings import MocoSettings
from aop_pose.pipelines.training_config import FrameTrainingConfig

PRESETS = Path(__file__).parent / "presets"
DEFAULT_PRESET = "fast"
REDUCTION = 32
"""Input pixels per pixel of the encoder's last map: what five upsamplings undo."""
BLOCKS = 5


class HrnetConfig(MocoSettings, FrameTrainingConfig):
    """One field a setting; the presets say where each number comes from."""

    image_size: int = Field(default=256, ge=2 * REDUCTION)
    encoder: str = "hrnet_w18_small"
    """Name of a timm network that gives feature maps, the last of them at 1/32 of the input."""
    widened: bool = True
    """HRNet: its last branch as the first part of its classification head widens it, to 1024 channels; without, the
    branch itself. No other encoder asks for it."""
    output: Literal["heatmaps", "coordinates"] = "heatmaps"
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
    """How equation 8 makes a map sum to 1: ReLU and division, or the softmax of ten times the map (the authors' code),
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
    batch: int = Field(default=8, ge=1)
    lr_generator: float = Field(default=3e-4, gt=0)
    lr_discriminator: float = Field(default=5e-5, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    decode: Literal["argmax", "soft-argmax", "subpixel"] = "soft-argmax"
    """How maps are read as points; ``soft-argmax`` is equation 8."""

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
