"""The heatmap U-Net: points of frames, after masked autoencoding on frames without labels where that is wanted."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from aop_pose.errors import UsageError
from aop_pose.formats.label import Label
from aop_pose.inference.predictor import Contract
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.pipeline import LightningPipeline, PseudoOptions, Stage, StageData, UnlabelledOptions
from aop_pose.pipelines.unet.config import ENSEMBLE, RECIPES, UnetConfig

if TYPE_CHECKING:
    from torch import nn

    from aop_pose.pipelines.checkpoint import Transfer
    from aop_pose.pipelines.lightning import Training


@attrs.frozen(kw_only=True)
class UnetOptions(PseudoOptions):
    """The options of ``train``."""

    recipe: str | None = None
    """``ensemble`` or ``semi``: ``unet.recipe`` says what each does."""
    rounds: int | None = None

    def check(self, job: Job) -> None:
        if self.recipe is None:
            if self.rounds is not None:
                raise UsageError("--rounds: expected --recipe ensemble beside it")
            return super().check(job)
        if self.recipe not in RECIPES:
            raise UsageError(f"--recipe: expected {' or '.join(RECIPES)} with --method unet, found {self.recipe!r}")
        if self.pseudo is not None:
            raise UsageError("--pseudo: expected it without --recipe, which needs none; leave one out")
        if self.rounds is not None and (self.recipe != ENSEMBLE or self.rounds < 1):
            raise UsageError(f"--rounds: expected at least 1, with --recipe {ENSEMBLE}, found {self.rounds}")


class Unet(LightningPipeline):
    """Learns PS1, PS2 and FH1, or with ``points=head`` the axes of a head (label file ``head-csv``)."""

    name = "unet"
    packages = ("torch", "torchvision", "lightning")
    schemas = ("aop", "head")
    config = UnetConfig
    stages: ClassVar = {"train": Stage(UnetOptions), "pretrain": Stage(UnlabelledOptions, labels=False)}

    def checked(self, stage: str, job: Job, config: UnetConfig) -> UnetConfig:
        if stage == "pretrain" and config.encoder != "unet":
            raise UsageError(
                f"encoder: pretrain fills in pictures by the U-Net; {config.encoder} starts from --init FILE"
            )
        return config

    def reads(self, stage: str, options: Any) -> Collection[str]:
        """A recipe has settings of its own."""
        recipe = getattr(options, "recipe", None)
        return (stage,) if recipe is None else (stage, recipe)

    def fit(self, stage: str, job: Job, config: UnetConfig, options: Any) -> dict[str, Any]:
        if getattr(options, "recipe", None) != ENSEMBLE:
            return super().fit(stage, job, config, options)
        from aop_pose.pipelines.unet.recipe import train_by_recipe

        return train_by_recipe(self, job, config, val=options.val, frames=options.frames, rounds=options.rounds or 1)

    def data(self, stage: str, job: Job, config: UnetConfig, options: Any) -> StageData:
        """With ``--recipe semi`` frames without labels too, half of each batch."""
        if getattr(options, "recipe", None) is None:
            return super().data(stage, job, config, options)
        from aop_pose.pipelines.data import check_halves, with_unlabelled

        if config.activation != "softmax" or not config.averaging or config.points != "aop":
            raise UsageError("--recipe semi goes with points aop, activation softmax and averaging above 0")
        check_halves(config.batch)
        data = super().data(stage, job, config, attrs.evolve(options, frames=None))
        named = [job.labels, *([options.val] if options.val is not None else [])]
        return with_unlabelled(data, job.data, options.frames, named)

    def schema_of(self, config: UnetConfig) -> str:
        return config.points

    def labels(self, config: Any, job: Job, file: str) -> list[Label]:
        from aop_pose.formats.masks import with_masks

        labels = super().labels(config, job, file)
        return with_masks(labels, job.data) if config.outlines else labels

    def network(self, stage: str, settings: UnetConfig) -> Any:
        from aop_pose.pipelines.unet.network import MaskedNetwork, build

        return build(settings) if stage == "train" else MaskedNetwork(settings)

    def start(self, init: str, network: Any) -> Transfer:
        """As of every network; one with the body of a YOLO starts from COCO (``auto``) or from Ultralytics' files."""
        from aop_pose.pipelines.checkpoint import Transfer
        from aop_pose.pipelines.start import find_start
        from aop_pose.pipelines.unet.network import YoloBody

        body = getattr(network, "body", None)
        if not (isinstance(body, YoloBody) and (init == "auto" or self._is_foreign(init))):
            return super().start(init, network)
        start = find_start(init, body.name)
        moved = body.fill(start) if start.model is not None else 0
        return Transfer(start.words, moved, len(network.state_dict()))

    def encoder(self, network: Any) -> tuple[nn.Module, str] | None:
        from aop_pose.pipelines.unet.network import TimmBody

        body = getattr(network, "body", None)
        return (body.layers, body.name) if isinstance(body, TimmBody) else None

    def _is_foreign(self, init: str) -> bool:
        """True for a pickled network, which Ultralytics' checkpoints are and this pipeline's never."""
        from aop_pose.pipelines.checkpoint import read_checkpoint

        if not Path(init).is_file():
            return False
        try:
            read_checkpoint(Path(init), "--init", self.name, self.config)
        except UsageError:
            return True
        return False

    def training(self, stage: str, data: StageData, network: Any, job: Job) -> Training:
        from aop_pose.pipelines.unet.training import LandmarkTraining, MaskedTraining

        if stage == "pretrain":
            return MaskedTraining(data.settings, network, job.seed, data.training, data.checking)
        contract = self.contract(data.settings, job.out.name, {"name": job.out.name})
        if "unlabelled_frames" in data.facts:
            from aop_pose.pipelines.unet.recipe import ConsistencyTraining

            return ConsistencyTraining(data.settings, network, job.seed, data.training, data.checking, contract)
        return LandmarkTraining(data.settings, network, job.seed, data.training, data.checking, contract)

    def contract(self, settings: UnetConfig, name: str, run: dict[str, Any]) -> Contract:
        """A coordinate head has no score, so that it never abstains."""
        rule = settings.decode if settings.head == "heatmap" else "direct"
        return Contract(
            name=name, schema=settings.points, head=settings.head, image_size=settings.image_size,
            threshold=settings.threshold, decode=rule, training_run=run,
            outlines=("PS", "FH") if settings.outlines else (), stances=bool(settings.turned),
        )  # fmt: skip
