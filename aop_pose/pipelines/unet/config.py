"""Settings of the heatmap U-Net."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from aop_pose.core.schema import SCHEMAS, Schema
from aop_pose.pipelines.config import FrameConfig

PRESETS = Path(__file__).parent / "presets"
YOLO = "yolo11n"
ENSEMBLE, SEMI = "ensemble", "semi"
RECIPES = (ENSEMBLE, SEMI)
TRAIN_ONLY = frozenset(
    {
        "points", "encoder", "head", "map_stride", "activation", "loss", "coordinate_weight", "angle_weight", "sigma",
        "region", "region_weight", "outlines", "outline_weight", "turned", "turn_weight", "axis_weight", "burnt_in",
        "looks", "cut", "painted", "patient", "phantoms", "threshold", "decode",
    }
)  # fmt: skip


class UnetConfig(FrameConfig):
    """One field a setting; the presets say where each number comes from."""

    only: ClassVar = {
        "train": TRAIN_ONLY,
        "pretrain": frozenset({"mask_share", "mask_patch"}),
        ENSEMBLE: frozenset({"networks", "student_epochs"}),
        SEMI: frozenset({"consistency", "ramp_up", "strong_degrees", "strong_scale", "elastic", "bands"}),
    }

    points: Literal["aop", "head"] = "aop"
    """The schema: which points are learned, and from which label file (``iugc`` or ``head-csv``)."""
    image_size: int = Field(default=256, ge=32)
    """Side of the network's square input, in pixels."""
    encoder: str = "unet"
    """``yolo11n``: backbone and neck of that network in the place of encoder and decoder, so that it can start from
    COCO; or the name of a timm network, whose weights ``--init`` takes. Of the sizes below only the first of ``widths``
    counts then."""
    channels: Literal[1, 3] = 1
    """Of the first convolution; 3 sees the gray picture three times, as networks made for colour do."""
    stem: Literal[1, 2, 4] = 4
    """Input pixels per pixel of the first block: strided convolutions in front of it."""
    widths: tuple[Annotated[int, Field(ge=1)], ...] = (32, 64, 128, 160)
    """Channels of each encoder block, and of the decoder block that mirrors it."""
    bottleneck: int = Field(default=192, ge=1)
    """Channels of the block between encoder and decoder."""
    bias: bool = False
    """Biases in the 3 x 3 convolutions, whose batch normalisation has its own."""
    attention: bool = False
    """Attention gates on the skip connections (Oktay et al. 2018)."""
    head: Literal["heatmap", "coordinates"] = "heatmap"
    """The output: a map a point, or the coordinates themselves."""
    map_stride: int = Field(default=4, ge=1)
    """Input pixels per pixel of a heatmap."""
    activation: Literal["linear", "sigmoid", "softmax"] = "softmax"
    """Of the maps. ``softmax`` makes each map sum to 1 and scales it so that a perfect answer peaks at 1."""
    loss: Literal["mse", "cross-entropy"] = "cross-entropy"
    """Of the maps: squared error, or cross-entropy of maps that sum to 1."""
    coordinate_weight: float = Field(default=0.0, ge=0)
    """Of a further loss: how far the map's mean position is off (see ``losses.position_error``)."""
    angle_weight: float = Field(default=0.0, ge=0)
    """Of a further loss, per degree: how far these positions turn the angle (see ``losses.angle_error``)."""
    sigma: float = Field(default=2.0, gt=0)
    """Of the heatmaps, in their pixels."""
    region: Literal["none", "triangle", "ellipse"] = "none"
    """A further map that is learned and not exported: the triangle of the three points, the ellipse of two axes."""
    region_weight: float = Field(default=1.0, ge=0)
    """Of the loss of the region's map, beside that of the points."""
    outlines: bool = False
    """Two further maps that are learned from ``masks/`` beside the pictures and exported: symphysis and head."""
    outline_weight: float = Field(default=4.0, ge=0)
    """Of the loss of the outlines, beside that of the points."""
    turned: float = Field(default=0.0, ge=0, lt=1)
    """Share of the frames that are shown mirrored, turned by quarters or both, and from which only that is learned:
    the network then tells how a frame stands."""
    turn_weight: float = Field(default=0.5, ge=0)
    """Of the loss of the turn, beside that of the points."""
    axis_weight: float = Field(default=0.0, ge=0)
    """Of a further loss, per degree: how far the direction from PS1 to PS2 is off (see ``losses.axis_error``)."""
    burnt_in: float = Field(default=0.0, ge=0, le=1)
    """Share of the frames with calipers, drawn lines, text and the like on them (``phantom.burnt_in``)."""
    looks: float = Field(default=0.0, ge=0, le=1)
    """Share of the frames that are shown as another setting or machine would (``phantom.looks``)."""
    cut: float = Field(default=0.0, ge=0, le=1)
    """Share of the frames that are cut to their ultrasound, as a region found in a screen is."""
    painted: float = Field(default=0.0, ge=0, le=1)
    """Share of the frames from which symphysis or head is painted out, so that no outline of it is learned there and
    none of its points; goes with ``outlines``."""
    epochs: int = Field(default=150, ge=1)
    """Passes over the training data."""
    optimizer: Literal["Adam", "AdamW"] = "AdamW"
    """The rule by which weights are changed."""
    lr: float = Field(default=2e-3, gt=0)
    """Learning rate at its height."""
    schedule: Literal["constant", "step", "cosine"] = "cosine"
    """Of the learning rate over the epochs."""
    step_epochs: int = Field(default=15, ge=1)
    """Schedule ``step``: epochs between two steps."""
    step_factor: float = Field(default=0.5, gt=0, le=1)
    """Schedule ``step``: factor of each."""
    warmup_epochs: int = Field(default=3, ge=0)
    """Epochs over which the learning rate rises to its height."""
    averaging: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the running mean of the weights, which is what is checked and kept; 0 = the weights themselves."""
    degrees: float = Field(default=0.0, ge=0, le=180)
    """Largest turn of a training frame, either way."""
    translate: float = Field(default=0.0, ge=0, le=1)
    """Largest shift of a training frame, in shares of its side."""
    scale: float = Field(default=0.0, ge=0, lt=1)
    """A training frame is scaled by 1 - scale to 1 + scale."""
    shear: float = Field(default=0.0, ge=0, le=45)
    """Largest shear of a training frame, in degrees."""
    flip: float = Field(default=0.0, ge=0, le=1)
    """Probability of a left-right mirror."""
    flip_vertical: float = Field(default=0.0, ge=0, le=1)
    """Probability of an upside-down mirror."""
    brightness: float = Field(default=0.0, ge=0, le=1)
    """Gray is multiplied by 1 - brightness to 1 + brightness."""
    contrast: float = Field(default=0.0, ge=0, le=1)
    """Gray is spread around its mean by 1 - contrast to 1 + contrast."""
    gamma: float = Field(default=0.0, ge=0, lt=1)
    """Gray values are raised to a power between 1 / (1 + gamma) and 1 + gamma."""
    speckle: float = Field(default=0.0, ge=0, le=1)
    """Largest standard deviation of multiplicative noise."""
    blur: float = Field(default=0.0, ge=0)
    """Largest sigma, in pixels of the input, of a Gaussian blur that one frame in four gets."""
    mask_share: float = Field(default=0.6, gt=0, lt=1)
    """Pre-training: share of the patches that are hidden."""
    mask_patch: int = Field(default=16, ge=1)
    """Pre-training: side of a patch in pixels of the input."""

    networks: int = Field(default=3, ge=1)
    """``--recipe ensemble``: networks, a seed each, that label together."""
    student_epochs: int | None = Field(default=None, ge=1)
    """``--recipe ensemble``: passes of a student over the labelled frames; None = ``epochs``."""
    consistency: float = Field(default=1.0, ge=0)
    """``--recipe semi``: weight of the agreement on unlabelled frames, beside the loss of the labelled ones."""
    ramp_up: float = Field(default=0.3, gt=0, le=1)
    """``--recipe semi``: share of the epochs over which that weight rises."""
    strong_degrees: float = Field(default=15.0, ge=0, le=180)
    """``--recipe semi``: largest further turn of the view that the network sees, either way."""
    strong_scale: float = Field(default=0.15, ge=0, lt=1)
    """``--recipe semi``: that view is scaled by 1 - strong_scale to 1 + strong_scale."""
    elastic: float = Field(default=0.02, ge=0, le=0.2)
    """``--recipe semi``: largest smooth displacement of that view, in shares of its side."""
    bands: float = Field(default=0.15, ge=0, le=1)
    """``--recipe semi``: largest width of a band that is cut out across that view, in shares of its side."""

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        whole = self.stem * 2 ** len(self.widths)
        if self.encoder != "unet" and (self.stem, self.map_stride, self.head, self.image_size % 32) != (
            4,
            4,
            "heatmap",
            0,
        ):
            raise ValueError(
                f"encoder {self.encoder} goes with head heatmap, stem and map_stride 4 and image_size a multiple of 32"
            )
        if (self.coordinate_weight or self.angle_weight) and (self.activation != "softmax" or self.points != "aop"):
            # The two ends of an axis have no names: the mean of a map that shows both is neither.
            raise ValueError("coordinate_weight and angle_weight go with activation softmax and points aop")
        if not self.widths or self.image_size % whole:
            raise ValueError(f"image_size has to be a multiple of {whole} (stem x 2 per encoder block)")
        if self.map_stride % self.stem or self.image_size % self.map_stride:
            raise ValueError(f"map_stride has to be a multiple of stem ({self.stem}) that divides image_size")
        if self.image_size % self.mask_patch or self.mask_patch % self.stem:
            raise ValueError("mask_patch has to be a multiple of stem that divides image_size")
        if (self.activation == "softmax") != (self.loss == "cross-entropy"):
            raise ValueError("loss cross-entropy goes with activation softmax, and mse with linear or sigmoid")
        if self.region not in ("none", {"aop": "triangle", "head": "ellipse"}[self.points]):
            raise ValueError(f"region {self.region} does not belong to points {self.points}")
        wanted = self.outlines or self.turned or self.axis_weight or self.burnt_in or self.looks or self.cut
        if wanted and (self.points != "aop" or self.head != "heatmap"):
            raise ValueError(
                "outlines, turned, axis_weight, burnt_in, looks and cut go with points aop and head heatmap"
            )
        if self.axis_weight and self.activation != "softmax":
            raise ValueError("axis_weight goes with activation softmax")
        if self.painted and not self.outlines:
            raise ValueError("painted goes with outlines: they say where a structure is")
        if self.turned and (self.flip or self.flip_vertical):
            raise ValueError("turned goes without flip and flip_vertical: the network could not tell what stands right")
        if self.phantoms and self.points != "aop":
            raise ValueError("phantoms show the points of aop")
        return self

    @property
    def schema_of_points(self) -> Schema:
        return SCHEMAS[self.points]

    @property
    def map_size(self) -> int:
        """Side of a heatmap in its pixels."""
        return self.image_size // self.map_stride
