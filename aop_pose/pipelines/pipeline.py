"""The pipeline: the verbs that each answers, written once; a network trained by Lightning inherits all of them.

Nothing here needs torch: a pipeline is described and its options are checked where it is not installed.
"""

from __future__ import annotations

import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from aop_pose.core.schema import SCHEMAS
from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.formats.label import LABELS, Label, resolve
from aop_pose.formats.registry import read_labels
from aop_pose.inference.weights import AnyPredictor
from aop_pose.io.folders import locked
from aop_pose.pipelines.config import Config, FrameConfig, LightningConfig, changed, load_config
from aop_pose.pipelines.job import Job, gpus_of
from aop_pose.pipelines.run import RunFolder, leads, read_record

if TYPE_CHECKING:
    from torch import nn

    from aop_pose.inference.predictor import Contract
    from aop_pose.inference.volume_predictor import VolumeContract
    from aop_pose.pipelines.checkpoint import Transfer
    from aop_pose.pipelines.export import Trained
    from aop_pose.pipelines.lightning import Training

COMMAND_LINE = {"frames": "list"}
"""Options of a stage that have another name on the command line."""


@attrs.frozen(kw_only=True)
class Options:
    """The options of a stage beside its ``Job``; the names are those of the command line."""

    def check(self, job: Job) -> None:
        """UsageError where an option says nothing to the way that is asked for."""


@attrs.frozen(kw_only=True)
class LabelledOptions(Options):
    """The options of a training on labels beside its ``Job``."""

    val: str | None = None
    """Label file that chooses the best epoch; without it a share of the labels does, in whole groups."""


@attrs.frozen(kw_only=True)
class PseudoOptions(LabelledOptions):
    """Further, a table of pseudo-labels."""

    pseudo: str | Path | None = None
    """A ``pseudo.csv``: its kept frames fill half of each batch, each point by its weight."""
    frames: str | Path | None = None
    """A list of file names (one a line): only these of the table's frames."""

    def check(self, job: Job) -> None:
        if self.frames is not None and self.pseudo is None:
            raise UsageError("--list: expected --pseudo beside it, whose frames it is about")


@attrs.frozen(kw_only=True)
class UnlabelledOptions(Options):
    """The options of a training without labels beside its ``Job``."""

    frames: str | Path | None = None
    """A list of file names (one a line); without it every picture below the data."""


@attrs.frozen
class Stage:
    """One training of a pipeline: the class of its options, and whether it reads labels."""

    options: type[Options]
    labels: bool = True


class Pipeline(ABC):
    """A method of training, from labels to what ``inference`` runs. One object has no state."""

    name: ClassVar[str]
    """As ``--method`` says it; checkpoints and run.json too."""
    packages: ClassVar[tuple[str, ...]]
    """Packages that training and checkpoints need."""
    image: ClassVar[Literal["frame", "volume"]] = "frame"
    """The kind of image it finds points in."""
    schemas: ClassVar[tuple[str, ...]] = (AOP.name,)
    """The schemas whose points it learns."""
    config: ClassVar[type[Config]]
    stages: ClassVar[Mapping[str, Stage]]
    """``train``, and perhaps ``pretrain``."""
    lacks: ClassVar[Mapping[str, str]] = {}
    """Stage that there is not -> why."""
    preset: ClassVar[str] = "fast"
    """The preset where none is named."""
    foreign_checkpoints: ClassVar[bool] = False
    """True where its ``.pt`` files are those of a library and do not name the pipeline."""

    @classmethod
    def presets(cls) -> Path:
        """The folder of its presets, beside its module."""
        return Path(inspect.getfile(cls)).parent / "presets"

    @classmethod
    def described(cls) -> dict[str, Any]:
        """Packages that it still needs, and the names of its presets."""
        return {
            "not_installed": [package for package in cls.packages if find_spec(package) is None],
            "presets": sorted(path.stem for path in cls.presets().glob("*.yaml")),
        }

    def check_installed(self) -> None:
        """UsageError that says how to install what is missing."""
        if missing := self.described()["not_installed"]:
            raise UsageError(
                f"training and checkpoints of --method {self.name} need {' and '.join(missing)}, which "
                f"{'is' if len(missing) == 1 else 'are'} not installed; install with: pip install 'aop-pose[train]'"
            )

    def pretrain(self, job: Job, **options: Any) -> dict[str, Any]:
        """Teach something easier first, to start ``train`` from; arguments, returns and errors as ``train`` has them.

        Raises:
            UsageError: further, where the pipeline has no pre-training.
        """
        return self._fit("pretrain", job, options)

    def train(self, job: Job, **options: Any) -> dict[str, Any]:
        """Train a network that finds points; returns what run.json says.

        Args:
            job: data, settings and run folder.
            options: those of ``stages["train"].options``; None and False count as not given.

        Raises:
            UsageError: an option or setting that the stage does not use or that does not fit, or labels, start or run
                folder that do not fit; nothing was written.
            AopPoseError: the run broke off.
        """
        return self._fit("train", job, options)

    def resume(self, job: Job, **options: Any) -> dict[str, Any]:
        """Go on with the interrupted run in ``job.out``, whichever stage it is; else as ``train``."""
        stage = read_record(job.out).get("stage", "train")
        return self._fit(stage, attrs.evolve(job, resume=True), options)

    @abstractmethod
    def export(self, path: Path, out: Path, threshold: float | None = None, decode: str | None = None) -> AnyPredictor:
        """Write a run folder's or checkpoint's network as an artefact and load it back.

        The file appears under its name only when its answers equal the network's.

        Args:
            path: run folder or checkpoint.
            out: the ``.onnx`` file.
            threshold: in the place of the run's own, as ``decode``; neither changes the network.
            decode: a rule of the contract's head.

        Raises:
            UsageError: no checkpoint of this pipeline, or no such rule.
            AopPoseError: the two answer differently.
        """

    def predictor(self, path: Path, device: str = "cpu", refine: str | None = None) -> AnyPredictor:
        """The network of a run folder or checkpoint as it was trained, decoded as its artefact will be.

        Args:
            path: run folder or checkpoint.
            device: ``cpu`` or a CUDA device.
            refine: the points that a refinement for each image trusts; None = no refinement.

        Raises:
            UsageError: no checkpoint of this pipeline, or a refinement that it does not have.
        """
        if refine is not None:
            raise UsageError(f"--refine: --method {self.name} has no refinement; leave it out")
        return self.trained_predictor(path, device)

    @abstractmethod
    def trained_predictor(self, path: Path, device: str) -> AnyPredictor:
        """See ``predictor``, without refinement."""

    @abstractmethod
    def fit(self, stage: str, job: Job, config: Any, options: Any) -> dict[str, Any]:
        """Carry out a stage whose options and settings were checked; returns what run.json says."""

    def reads(self, stage: str, options: Any) -> Collection[str]:
        """The stages whose settings are read: the one that is asked for, unless its options make it run others."""
        return (stage,)

    def config_of(self, stage: str, job: Job, options: Any) -> Any:
        """The settings of a job; UsageError for a key that is unknown or that the stage does not use.

        A preset or file of settings serves every stage, so that only what ``--set`` says has to be of use.
        """
        unused = self.config.unused(self.reads(stage, options))
        if wrong := [key for key in changed(job.changes) if key in unused]:
            # It is spelled right: what may be meant is the stage's own setting of the kind, as epochs and moco_epochs.
            words = set(wrong[0].split("_"))
            alike = [key for key in self.config.model_fields.keys() - unused if words & set(key.split("_"))]
            meant = nearest(wrong[0], alike) or "; leave it out"
            raise UsageError(f"--set: {stage} --method {self.name} does not use {wrong[0]!r}{meant}")
        return load_config(self.config, self.presets(), job.preset or self.preset, job.changes)

    def settings(self, stage: str, job: Job, **given: Any) -> dict[str, Any]:
        """The settings that a stage would read, by key, as YAML has them; nothing need be installed for it.

        Errors as those of ``config_of``.
        """
        options = self._options(stage, given)
        unused = self.config.unused(self.reads(stage, options))
        values: dict[str, Any] = self.config_of(stage, job, options).model_dump(mode="json")
        return {key: value for key, value in values.items() if key not in unused}

    def useful(self, stage: str, changes: Sequence[str]) -> list[str]:
        """Those of ``key=value`` pairs that a stage uses."""
        unused = self.config.unused((stage,))
        return [change for change in changes if change.partition("=")[0].strip() not in unused]

    def _fit(self, stage: str, job: Job, given: Mapping[str, Any]) -> dict[str, Any]:
        options = self._options(stage, given)
        options.check(job)
        config = self.config_of(stage, job, options)
        if not self.stages[stage].labels and job.labels != LABELS:
            raise UsageError(f"--labels: {stage} --method {self.name} reads no labels; name the frames with --list")
        RunFolder.check_free(job.out, job.resume)
        # Of several processes that train together one holds the folder.
        with locked(job.out) if leads() else nullcontext():
            return self.fit(stage, job, config, options)

    def _options(self, stage: str, given: Mapping[str, Any]) -> Options:
        """The options of a stage; UsageError for one that it does not take."""
        if stage not in self.stages:
            why = self.lacks.get(stage, "there is no such stage")
            raise UsageError(f"{stage} --method {self.name}: {why}; use aop-pose train --method {self.name}")
        kind = self.stages[stage].options
        typed = {name: value for name, value in given.items() if value is not None and value is not False}
        for name in typed.keys() - {field.name for field in attrs.fields(kind)}:
            raise UsageError(f"--{COMMAND_LINE.get(name, name)}: {stage} --method {self.name} does not take it")
        return kind(**typed)


@attrs.frozen(eq=False)
class StageData:
    """The data of a stage."""

    training: Sequence[Any]
    checking: Sequence[Any]
    """The examples that choose the epoch."""
    facts: Mapping[str, Any]
    """Facts about the data for run.json."""
    settings: Any
    """Settings that build the network and stand in its checkpoints: the configuration, with what the data told."""
    schema: str = "none"
    told: tuple[str, ...] = ()
    """Lines for a person."""
    about: Mapping[str, Any] = attrs.field(factory=dict)
    """Facts for run.json beside the data."""


class LightningPipeline(Pipeline):
    """A network trained by Lightning: data, run folder, fit, resume, checkpoints, artefact and predictor.

    A subclass gives ``config``, ``network``, ``training`` and ``contract``. For frames with PS1, PS2 and FH1, or
    without labels, the rest stands here; other images or labels have a ``data`` of their own.
    """

    config: ClassVar[type[LightningConfig]]
    body: ClassVar[str] = "body."
    """Beginning of the names of the tensors that have to fit where ``--init`` names a checkpoint."""

    @abstractmethod
    def network(self, stage: str, settings: Any) -> nn.Module:
        """A network of a stage with random weights. That of ``train`` has an ``answer`` (see ``export.Landmarks``)."""

    @abstractmethod
    def training(self, stage: str, data: StageData, network: Any, job: Job) -> Training:
        """The module that Lightning trains: the loss of a batch, the errors of the checked images, the optimiser."""

    @abstractmethod
    def contract(self, settings: Any, name: str, run: dict[str, Any]) -> Contract | VolumeContract:
        """The contract of a network of these settings, under a name and after a run."""

    def data(self, stage: str, job: Job, config: Any, options: Any) -> StageData:
        """The data of a stage; UsageError where it does not fit."""
        return self.frames(stage, job, config, options, config.holdout)

    def frames(self, stage: str, job: Job, config: FrameConfig, options: Any, holdout: float) -> StageData:
        """Labelled frames and phantoms for ``train``; for ``pretrain`` frames without labels, a share held out."""
        from aop_pose.pipelines.data import labelled_examples, phantom_examples, unlabelled_examples

        if stage == "pretrain":
            found = unlabelled_examples(job.data, options.frames, holdout, job.seed)
            told = f"frames: {len(found.training)} without labels, {len(found.checking)} to choose the epoch"
            return StageData(found.training, found.checking, found.facts, config, told=(told,))
        pseudo, listed = getattr(options, "pseudo", None), getattr(options, "frames", None)
        found = labelled_examples(job, options.val, config, partial(self.labels, config, job), pseudo, listed)
        lines = [
            f"frames: {len(found.training)} labelled, {config.phantoms} phantoms, {len(found.checking)} to choose the "
            "epoch"
        ]
        if found.trusted:
            lines.append(f"pseudo-labels: {len(found.trusted)} frames, half of each batch; each point's weights mean 1")
        outlined = any(example.outlines is not None for example in found.training)
        # Those with pseudo-labels last: half of each batch comes from before them.
        learned = [*found.training, *phantom_examples(config.phantoms, job.seed, outlined), *found.trusted]
        return StageData(learned, found.checking, found.facts, config, self.schema_of(config), tuple(lines))

    def schema_of(self, config: Any) -> str:
        """The schema of the points that are learned on frames."""
        return self.schemas[0]

    def labels(self, config: Any, job: Job, file: str) -> list[Label]:
        """The labelled frames of a file, as given or below the data, decoded; what is left out is said."""
        schema = SCHEMAS[self.schema_of(config)]
        return read_labels(resolve(file, job.data, own=True), job.data, schema, keep=True, say=job.say)

    def checked(self, stage: str, job: Job, config: Any) -> Any:
        """The configuration, perhaps changed for this machine; UsageError for what a stage cannot do."""
        return config

    def start(self, init: str, network: Any) -> Transfer:
        """Fill a new network from ``--init``: ``auto`` and ``scratch`` leave it as it is, nothing is downloaded.

        Weights that timm or others trained fill the encoder where the network has one of timm's.

        Raises:
            UsageError: no such file, none of this pipeline, or a body of another shape (each mismatch is listed).
        """
        from aop_pose.pipelines.checkpoint import (
            file_to_start,
            fill_encoder,
            is_foreign,
            read_checkpoint,
            scratch,
            transfer,
        )

        if init in ("auto", "scratch"):
            return scratch(network)
        file = file_to_start(init)
        encoder = self.encoder(network)
        if encoder is not None and is_foreign(file):
            return fill_encoder(network, *encoder, file)
        state, prefix = self.fitted(read_checkpoint(file, "--init", self.name, self.stored()).state, network)
        return transfer(network, state, prefix, file)

    def fitted(self, state: dict[str, Any], network: Any) -> tuple[dict[str, Any], str]:
        """A checkpoint's tensors under the network's names, and the beginning of the names that have to fit."""
        return state, self.body

    def encoder(self, network: Any) -> tuple[nn.Module, str] | None:
        """The part of a network that is timm's, and its name there; None where it has none."""
        return None

    def started(self, stage: str, settings: Any, start: Transfer, job: Job) -> Any:
        """The settings as the start asks for them: what suits learned weights may not suit random ones.

        What ``--set`` says stays as it is.
        """
        return settings

    def stored(self) -> type[Config]:
        """The class of what checkpoints say of their settings."""
        return self.config

    def remarks(self, stage: str, settings: Any, start: Transfer) -> Sequence[str]:
        """Further lines for a person before a stage begins."""
        return ()

    def fit(self, stage: str, job: Job, config: Any, options: Any) -> dict[str, Any]:
        import torch

        from aop_pose.pipelines.lightning import fit

        config = config.model_copy(update={"gpus": len(gpus_of(job.device, config.gpus)) or 1})
        config = self.checked(stage, job, config)
        data = self.data(stage, job, config, options)
        torch.manual_seed(job.seed)
        network = self.network(stage, data.settings)
        start = self.start(job.init, network)
        data = attrs.evolve(data, settings=self.started(stage, data.settings, start, job))
        training = self.training(stage, data, network, job)
        facts = {"seed": job.seed, "stage": stage, "schema": data.schema, **data.about, "data": dict(data.facts)}
        run = RunFolder.open(job.out, self.name, config, facts, job.resume)
        job.say(f"start: {start}")
        for line in (*self.remarks(stage, data.settings, start), *data.told):
            job.say(line)
        return fit(training, job, run, stage, start=start.words, tensors_transferred=[start.moved, start.tensors])

    def trained_predictor(self, path: Path, device: str) -> AnyPredictor:
        from aop_pose.pipelines.export import predictor

        return predictor(path, device, self.trained)

    def export(self, path: Path, out: Path, threshold: float | None = None, decode: str | None = None) -> AnyPredictor:
        from aop_pose.pipelines.export import export

        return export(path, out, threshold, decode, self.trained)

    def trained(self, file: Path) -> Trained:
        """The network of a checkpoint, in evaluation mode, and its contract.

        UsageError where it is of another stage or pipeline, or does not fit its own settings.
        """
        from aop_pose.pipelines.checkpoint import fill, read_trained
        from aop_pose.pipelines.export import Trained

        found = read_trained(file, self.name, self.stored())
        network = self.network("train", found.config)
        fill(network, found.state, file)
        return Trained(network.eval(), partial(self.contract, found.config))


def nearest(word: str, known: Collection[str]) -> str:
    """``; did you mean WORD?`` where one is near, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
