"""FetusMapV2: points of volumes, with a memory plan, a prior of place, and a refinement for each volume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from aop_pose.core.schemas import FETUS
from aop_pose.errors import UsageError
from aop_pose.formats.split import hold_out
from aop_pose.inference.stages import StageContract
from aop_pose.inference.volume_predictor import VolumeContract, VolumePredictor
from aop_pose.inference.weights import AnyPredictor
from aop_pose.pipelines.config import Config, precision_of
from aop_pose.pipelines.fetusmap.config import FetusmapConfig, FinerConfig, RefineSettings, Trusted
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.pipeline import LabelledOptions, LightningPipeline, Stage, StageData
from aop_pose.pipelines.run import labelled_facts

if TYPE_CHECKING:
    from aop_pose.formats.label import Label
    from aop_pose.pipelines.fetusmap.landmarks import FetusmapModel
    from aop_pose.pipelines.lightning import Training


class Fetusmap(LightningPipeline):
    """Learns points in volumes; the columns of the label file (``formats.points3d``) tell the schema.

    Its checkpoints say more than its settings, ``FetusmapModel``: schema, memory plan, prior of place.
    """

    name = "fetusmap"
    packages = ("torch", "lightning")
    image = "volume"
    schemas = ("fetus", "fetal_face")
    config = FetusmapConfig
    stages: ClassVar = {"train": Stage(LabelledOptions)}
    lacks: ClassVar = {"pretrain": "the paper trains from scratch"}

    def checked(self, stage: str, job: Job, config: FetusmapConfig) -> FetusmapConfig:
        return with_safe_precision(config, job)

    def data(self, stage: str, job: Job, config: FetusmapConfig, options: LabelledOptions) -> StageData:
        """UsageError, too, where the memory does not hold a step."""
        from aop_pose.inference.grid import place_prior, turns_of
        from aop_pose.pipelines.fetusmap.data import (
            check_apart,
            check_looks,
            distances_mm,
            groups,
            read_examples,
            read_labels,
        )
        from aop_pose.pipelines.fetusmap.landmarks import FetusmapModel
        from aop_pose.pipelines.fetusmap.library import has_prior
        from aop_pose.pipelines.fetusmap.training import plan_for

        labelled, schema = read_labels(job.labels, job)
        chosen: list[Label] = []
        if options.val is not None:
            chosen, other = read_labels(options.val, job)
            if other is not schema:
                raise UsageError(f"--val: expected the points of schema {schema.name}, found those of {other.name}")
            check_apart(labelled, chosen)
        if config.pair and not schema.sides:
            raise UsageError(f"pair: expected a schema with a left and a right side, found {schema.name}; leave it out")
        check_looks(config, schema)
        plan, needed = plan_for(config, schema, job.device, len(labelled) + len(chosen))
        examples, checks = (read_examples(volumes, schema, config, job) for volumes in (labelled, chosen))
        if options.val is None and config.holdout:
            held = hold_out(groups(labelled, examples, config), config.holdout, job.seed)
            checks = [example for example, out in zip(examples, held, strict=True) if out]
            examples = [example for example, out in zip(examples, held, strict=True) if not out]
        stored = len(examples) if has_prior(schema) and config.mode == "whole" else 0
        model = FetusmapModel(
            **config.model_dump(), points=schema.name, memory_plan=plan, poses=stored,
            **distances_mm(examples, schema, config),
        )  # fmt: skip
        told = [f"volumes: {len(examples)} labelled ({schema.name}), {len(checks)} to choose the epoch"]
        if config.place_prior:
            places = [(one.points.numpy() - one.middle) * one.placement.voxel_mm for one in examples]
            units = model.looks_of_network[0].units
            prior = place_prior(places, config.place_prior, model.taught_sides, units)
            model = model.model_copy(update={"places": prior})
            if prior is None:
                told.append("place_prior: left out, since a point has fewer than two labels")
        if config.turns > 1:
            kept, size = len(turns_of(config.size, config.turns)), "x".join(map(str, config.size))
            told.append(f"turns: maps are averaged over the {kept} of {config.turns} that keep {size}")
        taken = f"memory plan: none; a step takes about {needed / 2**30:.2f} GiB"
        told.append(plan.table() if plan is not None else taken)
        memory = {"bytes_of_a_step": needed, "plan": plan.model_dump(mode="json") if plan is not None else None}
        parts = (part for example in [*examples, *checks] for part in example.parts())
        facts = labelled_facts(job, options.val, len(examples), len(checks), parts, "volumes")
        return StageData(examples, checks, facts, model, schema.name, tuple(told), {"memory": memory})

    def network(self, stage: str, settings: FetusmapModel) -> Any:
        from aop_pose.pipelines.fetusmap.landmarks import LandmarkNetwork

        return LandmarkNetwork(settings)

    def stored(self) -> type[Config]:
        from aop_pose.pipelines.fetusmap.landmarks import FetusmapModel

        return FetusmapModel

    def fitted(self, state: dict[str, Any], network: Any) -> tuple[dict[str, Any], str]:
        """The encoder has to fit. A plan without reversed blocks holds the same network one level deeper."""
        from aop_pose.pipelines.fetusmap.planner import Planned

        prefix = "body.network." if isinstance(network.body, Planned) else "body."
        renamed = {key.replace("body.network.", "body.").replace("body.", prefix): state[key] for key in state}
        return renamed, f"{prefix}down."

    def training(self, stage: str, data: StageData, network: Any, job: Job) -> Training:
        import torch

        from aop_pose.pipelines.fetusmap.data import VolumeDataset
        from aop_pose.pipelines.fetusmap.training import VolumeTraining

        model: FetusmapModel = data.settings
        if network.poses is not None:
            # The grid of an example is right-handed and its voxels are cubes.
            poses = [example.points * example.placement.voxel_mm for example in data.training]
            network.poses.copy_(torch.stack(poses))
        schema = model.schema_of_points
        volumes = VolumeDataset(data.training, model, schema, job.seed)
        return VolumeTraining(model, network, job.seed, volumes, VolumeDataset(data.checking, model, schema))

    def contract(self, settings: FetusmapModel, name: str, run: dict[str, Any]) -> VolumeContract:
        model = settings
        first, *finer = model.looks_of_network
        stages = [
            StageContract(
                maps=model.units_of(look), around=stage.around, size=look.size, voxel_mm=stage.voxel_mm,
                sigma=look.sigma, rotations=stage.averaged, stride=stage.stride,
            )
            for look, stage in zip(finer, model.stages, strict=True)
        ]  # fmt: skip
        unsided: Literal["equation 7", "unknown"] = "equation 7" if model.points == FETUS.name else "unknown"
        return VolumeContract(
            name=name, schema=model.points, size=model.size, voxel_mm=model.voxel_mm, aim=model.aim, mode=model.mode,
            level_mm=model.level_mm, overlap=model.overlap, sigma=model.sigma, threshold=model.threshold,
            decode=model.decode,
            turns=model.turns, looks=model.looks, places=model.places,
            sides=unsided if model.taught_sides else "learned", stride=model.stride, training_run=run,
            maps=model.units_of(first), apart_mm=model.apart_mm, away_mm=model.away_mm, candidates=model.candidates,
            search_mm=model.search_mm, stages=tuple(stages),
        )  # fmt: skip

    def predictor(self, path: Path, device: str = "cpu", refine: str | None = None) -> AnyPredictor:
        """With ``refine``, one that refines its network for each volume (section 3.3).

        ``refine`` names the points that poses are registered on, see ``config.RefineSettings``. UsageError for another
        name, or where what was trained cannot be refined.
        """
        if refine is None:
            return super().predictor(path, device)
        if refine not in get_args(Trusted):
            raise UsageError(f"--refine-on: expected {' or '.join(get_args(Trusted))}, found {refine!r}")
        from aop_pose.pipelines.fetusmap.refine import refining_predictor

        plain = self.trained_predictor(path, device)
        assert isinstance(plain, VolumePredictor)
        return refining_predictor(plain, path, device, RefineSettings.model_validate({"on": refine}))


def with_safe_precision(config: FetusmapConfig, job: Job) -> FetusmapConfig:
    """The settings, in float32 where a CPU would take bfloat16 and give wrong gradients.

    oneDNN reads memory that nobody wrote for the gradient of the weights of a 3x3x3 convolution in bfloat16 whose input
    is two voxels deep along its first axis (seen with oneDNN 3.13): they are NaN, or finite and wrong.

    Raises:
        UsageError: bfloat16 was asked for.
    """
    looks: list[FetusmapConfig | FinerConfig] = [config, *config.stages]
    shallow = next((look for look in looks if look.size[0] <= 2 * look.stride), None)
    if job.device != "cpu" or shallow is None or precision_of(config.precision, "cpu") == "fp32":
        return config
    said = f"size {shallow.size[0]} along the first axis is {shallow.size[0] // shallow.stride} at the deepest level"
    if config.precision == "bf16":
        raise UsageError(
            f"precision bf16: {said}, where a CPU's gradients in bfloat16 are wrong; take fp32, a larger size or fewer "
            "widths"
        )
    job.say(f"precision: fp32, since {said}, where a CPU's gradients in bfloat16 are wrong")
    return config.model_copy(update={"precision": "fp32"})
