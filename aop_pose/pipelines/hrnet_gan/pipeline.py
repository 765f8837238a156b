"""The adversarially fine-tuned heatmap network, and its contrastive pre-training (Krishna and Khan, IUGC 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from aop_pose.core.schemas import AOP
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference.predictor import Contract
from aop_pose.pipelines.config import changed
from aop_pose.pipelines.hrnet_gan.config import REDUCTION, HrnetConfig
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.pipeline import LightningPipeline, PseudoOptions, Stage, StageData, UnlabelledOptions

if TYPE_CHECKING:
    from torch import nn

    from aop_pose.pipelines.checkpoint import Transfer
    from aop_pose.pipelines.lightning import Training


class HrnetGan(LightningPipeline):
    """Learns PS1, PS2 and FH1 on frames, judged by a discriminator.

    ``pretrain`` keeps the epoch with the least ``val/loss`` of the held-out frames, or the last where none are held out
    (the paper names no choice), and checks it for collapse.
    """

    name = "hrnet-gan"
    packages = ("torch", "torchvision", "lightning", "timm")
    config = HrnetConfig
    stages: ClassVar = {"train": Stage(PseudoOptions), "pretrain": Stage(UnlabelledOptions, labels=False)}
    body = "encoder."

    def data(self, stage: str, job: Job, config: HrnetConfig, options: Any) -> StageData:
        if stage != "pretrain":
            return super().data(stage, job, config, options)
        from aop_pose.pipelines.hrnet_gan.moco import check_size
        from aop_pose.pipelines.hrnet_gan.pretraining import size_of

        least = config.gpus * config.moco_batch
        check_size(config.moco_queue, least * (size_of(config) // REDUCTION) ** 2)
        data = self.frames(stage, job, config, options, config.moco_holdout)
        if len(data.training) < least:
            raise UsageError(
                f"expected at least {least} frames to train on (moco_batch), found {len(data.training)} and "
                f"{len(data.checking)} held out; name more frames, or lower moco_batch or moco_holdout"
            )
        return data

    def network(self, stage: str, settings: HrnetConfig) -> Any:
        from aop_pose.pipelines.hrnet_gan.network import Generator
        from aop_pose.pipelines.hrnet_gan.pretraining import projector_of

        return Generator(settings) if stage == "train" else projector_of(settings)

    def training(self, stage: str, data: StageData, network: Any, job: Job) -> Training:
        from aop_pose.pipelines.hrnet_gan.pretraining import ContrastiveTraining
        from aop_pose.pipelines.hrnet_gan.training import AdversarialTraining

        if stage == "pretrain":
            return ContrastiveTraining(data.settings, network, job.seed, data.training, data.checking)
        contract = self.contract(data.settings, job.out.name, {"name": job.out.name})
        return AdversarialTraining(data.settings, network, job.seed, data.training, data.checking, contract)

    def encoder(self, network: Any) -> tuple[nn.Module, str]:
        return network.encoder.body, network.encoder.name

    def started(self, stage: str, settings: HrnetConfig, start: Transfer, job: Job) -> HrnetConfig:
        """From random weights all layers learn from the first epoch on, at one rate.

        Frozen epochs and low rates of shallow layers are the paper's, whose encoder knew ImageNet.
        """
        if start.moved:
            return settings
        rate = settings.moco_lr_stage4
        by_stage: dict[str, dict[str, Any]] = {
            "train": {"frozen": False, "thaw": ()},
            "pretrain": {"moco_lr_stage3": rate, "moco_lr_rest": rate},
        }
        own = by_stage[stage]
        typed = changed(job.changes).keys()
        # A layer is only freed of what is frozen: what is said of either keeps both.
        kept = {"frozen", "thaw"} if typed & {"frozen", "thaw"} else typed
        return settings.model_copy(update={key: own[key] for key in own.keys() - kept})

    def remarks(self, stage: str, settings: HrnetConfig, start: Transfer) -> Sequence[str]:
        if start.moved:
            return ()
        if stage == "train" and settings.frozen:
            return [
                "warning: the encoder is frozen at random weights; name a pre-training with --init, or set frozen=false"
            ]
        if stage == "train":
            return ["random start: the encoder learns from the first epoch on; what was learned before comes by --init"]
        return [f"random start: every layer of the encoder learns at {settings.moco_lr_rest:g} (moco_lr_rest)"]

    def fit(self, stage: str, job: Job, config: HrnetConfig, options: Any) -> dict[str, Any]:
        """AopPoseError, too, where a pre-training came to its end and the embeddings collapsed."""
        record = super().fit(stage, job, config, options)
        if stage == "pretrain" and (reason := record["collapse"]["why"]):
            raise AopPoseError(f"pre-training collapsed: {reason}; the run is kept in {job.out}; do not train from it")
        return record

    def contract(self, settings: HrnetConfig, name: str, run: dict[str, Any]) -> Contract:
        """Coordinates have no score, so that they never abstain."""
        maps = settings.output == "heatmaps"
        return Contract(
            name=name, schema=AOP.name, head="heatmap" if maps else "coordinates", image_size=settings.image_size,
            threshold=settings.threshold, decode=settings.decode if maps else "direct", training_run=run,
        )  # fmt: skip
