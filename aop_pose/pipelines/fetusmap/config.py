"""Settings of FetusMapV2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from aop_pose.pipelines.config import Config, LightningConfig

PRESETS = Path(__file__).parent / "presets"
# The paper gives 147.98 MB of parameters and no layout (Table 4). These widths with bias-free convolutions, upsampling
# without parameters and 22 maps have 38,793,414 parameters = 147.985 MiB in fp32; all Conv-BN-ReLU passes reversed,
# 148.000 MiB (the paper: 148.01); some of them, between the two (the paper: 147.99).
PAPER_WIDTHS = (48, 96, 192, 384, 512)

Side = Annotated[int, Field(ge=8, le=1024)]


class FinerConfig(Config):
    """A look after the first one, at what the look before found."""

    around: str
    """The point in the middle of its input."""
    finds: tuple[str, ...] | None = None
    """Points that it finds; None = all of the schema."""
    size: tuple[Side, Side, Side] = (48, 48, 48)
    """Voxels of its input along i, j, k."""
    voxel_mm: float = Field(gt=0)
    """Edge of its cubic voxels."""
    widths: tuple[Annotated[int, Field(ge=1)], ...] = (16, 32, 64, 128)
    """As ``FetusmapConfig.widths``."""
    stem: Literal[1, 2] = 1
    """As ``FetusmapConfig.stem``."""
    sigma: float = Field(default=2.0, gt=0)
    """Of its maps, in voxels of its input."""
    jitter_mm: float = Field(default=10.0, ge=0)
    """Largest distance of ``around`` from the middle in training, along each axis."""
    averaged: int = Field(default=1, ge=1, le=64)
    """Rotations in which it sees a place when measuring; the maps are averaged."""
    absent: float | None = Field(default=None, ge=0, lt=1)
    """As ``FetusmapConfig.absent``, which has to be above 0; None = the same."""

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        check_size(self.size, self.stride, len(self.widths))
        return self

    @property
    def stride(self) -> int:
        """Each axis of the input is a multiple of it."""
        return int(self.stem * 2 ** (len(self.widths) - 1))


def check_size(size: tuple[int, int, int], stride: int, levels: int) -> None:
    """ValueError where a network of that stride does not take an input of that size."""
    if levels < 2:
        raise ValueError("widths has to name two levels or more")
    if any(side % stride for side in size):
        near = tuple(max(1, round(side / stride)) * stride for side in size)
        raise ValueError(
            f"size has to be a multiple of {stride} along each axis (stem, and 2 per level below the first), "
            f"found {list(size)}; the nearest is {list(near)}"
        )
    if all(side == stride for side in size):
        raise ValueError(
            f"size has to be more than one stride ({stride}) along some axis: the deepest level would have "
            "one voxel, and nothing to normalise"
        )


class FetusmapConfig(LightningConfig):
    """One field a setting; the presets say where each number comes from."""

    size: tuple[Side, Side, Side] = (64, 64, 64)
    """Voxels of the network's input along i, j, k; in patch mode, of a window."""
    voxel_mm: float | None = Field(default=None, gt=0)
    """Edge of its cubic voxels; None = as small as the whole volume fits with, each volume by itself. A volume that
    would not fit gets larger ones, so that nothing is cut off (in patch mode there are more windows instead)."""
    aim: Literal["middle", "brightness"] = "middle"
    """The part that comes into the middle of the input. ``brightness``: the mean position of its gray values, for
    scans that show much around the fetus; what lies beyond the input is cut off then."""
    level_mm: float | None = Field(default=None, gt=0)
    """Gray is divided by its mean around each voxel, over a Gaussian of this standard deviation, which takes away what
    a receive coil near one side adds; None = it is not."""
    mode: Literal["whole", "patch"] = "whole"
    """The whole volume in one input, or windows of it."""
    overlap: float = Field(default=0.5, ge=0, lt=1)
    """Share that neighbouring windows have in common (patch mode)."""
    widths: tuple[Annotated[int, Field(ge=1)], ...] = PAPER_WIDTHS
    """Channels of each level of the U-Net; a level halves each axis."""
    stem: Literal[1, 2] = 1
    """2: a strided convolution halves the volume before the first level, and the maps are enlarged again."""
    loss: Literal["mse", "cross-entropy"] = "cross-entropy"
    """``mse``: squared difference of the maps themselves to maps that peak at 1. ``cross-entropy``: K of equation 5, by
    which the softmax over the voxels of a map learns the map of equation 2."""
    pair: bool = False
    """The Pair loss of equations 3-8 instead of K for the points that have a side."""
    sigma: float = Field(default=2.0, gt=0)
    """Of the maps of equation 2, in voxels of the input."""
    lr: float = Field(default=1e-4, gt=0)
    """Learning rate at its height."""
    beta1: float = Field(default=0.5, ge=0, lt=1)
    """Adam's first moment."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Of the learning rate over the epochs."""
    warmup_epochs: int = Field(default=0, ge=0)
    """Epochs over which the learning rate rises to its height."""
    rotations: bool | Literal["any"] = True
    """One of the 24 right-angled turns a volume and epoch; none of them is a mirror. ``any``: one of all rotations."""
    degrees: float = Field(default=0.0, ge=0, le=45)
    """Largest further turn, about an axis drawn at random."""
    scale: float = Field(default=0.0, ge=0, lt=1)
    """A training volume is scaled by 1 - scale to 1 + scale."""
    translate: float = Field(default=0.0, ge=0, le=1)
    """Largest shift, in shares of each side; no point leaves the input that was in it."""
    flip: float = Field(default=0.0, ge=0, le=1)
    """Probability of a mirror, which swaps left and right points."""
    brightness: float = Field(default=0.0, ge=0, le=1)
    """Gray is multiplied by 1 - brightness to 1 + brightness."""
    contrast: float = Field(default=0.0, ge=0, lt=1)
    """Gray values are raised to a power between 1 / (1 + contrast) and 1 + contrast."""
    noise: float = Field(default=0.0, ge=0, le=1)
    """Largest standard deviation of multiplicative noise."""
    shading: float = Field(default=0.0, ge=0, le=3)
    """Gray is multiplied by a smooth field, as a receive coil near one side has: its logarithm has this standard
    deviation at 4 x 4 x 4 places over the input, and is linear between them."""
    group: str | None = None
    """Column of the label file whose equal values stay together, as the volumes of a patient."""
    plan: Literal["none", "auto"] = "none"
    """``auto``: the memory planner (section 3.1) chooses what is recomputed and reversed."""
    max_slowdown: float = Field(default=1.3, ge=1)
    """The longest a planned step may take, as a multiple of the plain one (estimated)."""
    budget_gb: float | None = Field(default=None, gt=0)
    """Memory in GiB that a training step may take; None = what is free on the GPU or the machine, less a margin."""
    threshold: float = Field(default=0.02, ge=0, le=1)
    """Peak of a map, in shares of the one that was taught, below which its point counts as not found."""
    turns: Literal[1, 24] = 1
    """24: a volume is measured in each right-angled turn that keeps the input's shape, and the maps are averaged: 24 of
    a cube, 8 where two sides are equal, else 4. The choice of the best epoch goes without."""
    looks: Literal[1, 2] = 1
    """2: a volume is looked at again, with the mean of the points that were found in the middle of the input; what lay
    at its edge is seen whole then. The choice of the best epoch goes without."""
    finds: tuple[str, ...] | None = None
    """Points that the first look finds; None = all of the schema. ``stages`` find the others."""
    candidates: int = Field(default=1, ge=1, le=8)
    """Places of the first look at which the second one looks when measuring; the surest answer counts."""
    search_mm: float | None = Field(default=None, ge=10)
    """Distance of places all over the volume at which the second look is taken besides when measuring, once each; as
    many of the surest are candidates too. None = at those of the first look alone."""
    stages: tuple[FinerConfig, ...] = ()
    """Further looks, each finer and at what the one before found; all are trained at once."""
    first_every: int = Field(default=1, ge=1)
    """The first look learns from a volume in every so-manyth epoch, finer ones in each; it has less to find."""
    absent: float = Field(default=0.0, ge=0, lt=1)
    """Share of the inputs of training that show no anatomy, or not at its size; the maps are taught to be empty there.
    Above 0 the softmax of a map has one more place: nowhere."""
    place_prior: float = Field(default=0.0, ge=0, le=1)
    """Power to which the prior of place (``inference.grid``) is raised by which maps are multiplied; 0 = none. The
    choice of the best epoch goes without."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        check_size(self.size, self.stride, len(self.widths))
        if self.pair and self.loss != "cross-entropy":
            raise ValueError("pair goes with loss cross-entropy: its K is one over the softmax of each map")
        if self.mode == "patch" and self.loss != "mse":
            raise ValueError(
                "mode patch goes with loss mse: a window that does not show a point has an empty map, "
                "which a softmax over its voxels cannot say"
            )
        if self.place_prior and (self.voxel_mm is None or self.mode == "patch"):
            raise ValueError("place_prior needs voxel_mm and mode whole: places are in mm from the middle of the input")
        if self.looks > 1 and self.mode == "patch":
            raise ValueError("looks 2 needs mode whole: windows see all of the volume")
        if (self.stages or self.absent) and (self.mode != "whole" or self.loss != "cross-entropy"):
            raise ValueError("stages and absent go with mode whole and loss cross-entropy")
        if self.stages and (self.voxel_mm is None or self.pair or self.looks > 1 or self.place_prior):
            raise ValueError("stages need voxel_mm, and stand in the place of pair, looks 2 and place_prior")
        if any(stage.absent for stage in self.stages) and not self.absent:
            raise ValueError("absent of a stage goes with absent of the first look")
        if self.first_every > 1 and not self.stages:
            raise ValueError("first_every goes with stages, which learn from what the first look leaves out")
        if self.finds is not None and not self.stages:
            raise ValueError("finds goes with stages, which find the other points")
        if self.aim == "brightness" and (self.voxel_mm is None or self.mode == "patch"):
            raise ValueError("aim brightness needs voxel_mm and mode whole: it cuts a part out of the volume")
        if self.mode == "patch" and self.voxel_mm is None:
            raise ValueError("mode patch needs voxel_mm: windows of a volume all have one voxel size")
        return self

    @property
    def stride(self) -> int:
        """Each axis of the input is a multiple of it."""
        return int(self.stem * 2 ** (len(self.widths) - 1))


NEAREST = 8
"""K of equation 9."""
Trusted = Literal["paper", "surest"]
"""The values of ``RefineSettings.on``."""


class RefineSettings(Config):
    """Those of the paper, sections 3.3 and 4.1, but for ``on``.

    It does not name the optimiser, which is taken to be that of training, nor say whether poses are scaled.
    """

    steps: int = Field(default=8, ge=1, le=1000)
    lr: float = Field(default=5e-4, gt=0, le=1)
    beta1: float = Field(default=0.5, ge=0, lt=1)
    nearest: int = Field(default=NEAREST, ge=1)
    """K of equation 9."""
    similarity: bool = True
    """True: poses of the library are scaled when they are registered."""
    on: Trusted = "surest"
    """Points of head and trunk that poses are registered on, while the other five are refined: the five whose maps have
    the highest peaks in this volume, or ``paper``, 2, 3, 5, 7 and 9. Not the paper's, since those five are the best
    found of its own network, and here they were not: on fresh phantoms the error went up with them and down with these
    (docs/results.md)."""
