"""Configurations: read from a preset or a file, changed by ``key=value``, and an unknown key is an error."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from aop_pose.errors import UsageError


class Config(BaseModel):
    """Base of every pipeline's configuration: one class for all its stages, so that a file of settings serves each."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    only: ClassVar[Mapping[str, frozenset[str]]] = {}
    """Stage -> the keys that this stage alone reads; every other key is read by all of them."""

    @classmethod
    def unused(cls, stages: Collection[str]) -> frozenset[str]:
        """The keys that none of these stages reads."""
        return frozenset().union(*(keys for stage, keys in cls.only.items() if stage not in stages))


C = TypeVar("C", bound=Config)


def load_config(kind: type[C], presets: Path, preset: str, changes: Sequence[str] = ()) -> C:
    """A validated configuration.

    Args:
        kind: the pipeline's configuration class.
        presets: folder of its ``.yaml`` presets.
        preset: name of a preset, or path of a YAML file.
        changes: ``key=value`` pairs; values are read as YAML.

    Raises:
        UsageError: unknown preset, unknown key (names the nearest), or a value that does not fit.
    """
    typed = changed(changes)
    return validate(kind, _read(presets, preset) | typed, preset, dict.fromkeys(typed, "--set"))


def changed(changes: Sequence[str]) -> dict[str, Any]:
    """The values of ``key=value`` pairs, read as YAML; UsageError for another form."""
    values = {}
    for change in changes:
        key, sign, text = change.partition("=")
        if not sign:
            raise UsageError(f"--set: expected key=value, found {change!r}")
        try:
            values[key.strip()] = yaml.safe_load(text)
        # A whole number of more digits than Python reads, or one list in another a thousand times.
        except (yaml.YAMLError, ValueError, RecursionError):
            raise UsageError(f"--set: {key.strip()}: expected a value in YAML, found {text!r}") from None
    return values


def validate(kind: type[C], values: dict[str, Any], where: str, places: Mapping[str, str] | None = None) -> C:
    """The values as a configuration; UsageError in one line where they do not fit.

    Args:
        where: the values come from, by name.
        places: the same of single keys, where it is another.
    """
    places = places or {}
    known = list(kind.model_fields)
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
            raise UsageError(f"{places.get(key, where)}: unknown setting {key!r}; did you mean {near!r}?")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            # Settings that do not go together: the whole configuration would be said again.
            raise UsageError(f"{where}: {first['ctx']['error']}") from None
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{places.get(name, where)}: {name}: {first['msg']}; found {first['input']!r}") from None


def _read(presets: Path, preset: str) -> dict[str, Any]:
    known = sorted(path.stem for path in presets.glob("*.yaml"))
    path = presets / f"{preset}.yaml" if preset in known else Path(preset)
    if not path.is_file():
        raise UsageError(f"--preset: expected one of {', '.join(known)} or a YAML file, found {preset!r}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"--preset: {path} is not YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise UsageError(f"--preset: {path}: expected key: value lines, found {type(values).__name__}")
    return values


Precision = Literal["auto", "fp32", "fp16", "bf16"]
TENSOR_CORES = (7, 0)
"""CUDA capability from which float16 is faster than float32."""


def precision_of(asked: Precision, device: str) -> Literal["fp32", "fp16", "bf16"]:
    """``auto`` takes bfloat16 where the processor or GPU multiplies it natively, on older GPUs float16, else float32.

    UsageError for float16 on a processor, whose gradients nothing scales there.
    """
    import torch

    if asked == "fp16" and device == "cpu":
        raise UsageError("precision fp16: expected --device cuda, found cpu; take bf16 or fp32")
    if asked != "auto":
        return asked
    if device == "cpu":
        native = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return "bf16" if native else "fp32"
    number = int(device.partition(",")[0])
    with torch.cuda.device(number):
        # Of emulated bfloat16 a GPU of before says yes too.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    if native:
        return "bf16"
    return "fp16" if torch.cuda.get_device_capability(number) >= TENSOR_CORES else "fp32"


class SharedConfig(Config):
    """The settings that every pipeline has. What one sets otherwise, it says again."""

    epochs: int = Field(default=100, ge=1)
    """Passes over the training data."""
    holdout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the labelled frames or volumes, in whole groups, that chooses the best epoch; 0 = the last epoch is
    kept."""
    precision: Precision = "auto"
    """Number format of training: ``auto`` is bfloat16 where the processor or GPU multiplies it natively, on GPUs before
    them float16 with scaled losses, else float32."""
    threshold: float = Field(default=0.1, ge=0, le=1)
    """Least score below which a frame counts as showing no anatomy: of maps, the peak of the lowest one."""


class LightningConfig(SharedConfig):
    """The settings that every network trained by Lightning has."""

    averaging: float = Field(default=0.0, ge=0, lt=1)
    """Decay of the running mean of the weights, which is what is checked and kept; 0 = the weights themselves."""
    clip: float = Field(default=0.0, ge=0)
    """Largest norm of the gradient of the network that is kept; 0 = not cut."""
    patient: str | None = None
    """Regular expression with a bracket around the patient in a file name; his frames or volumes stay together."""
    save_every: int = Field(default=0, ge=0)
    """Epochs between the checkpoints that are kept beside best and last; 0 = none."""
    schedule: Literal["constant", "step", "cosine"] = "constant"
    """Of the learning rate over the epochs."""
    gpus: int = Field(default=1, ge=1)
    """With ``--device cuda``: how many, counted from the named one, where ``--device 0,1`` does not name them; each
    takes ``batch`` frames a step, or one volume."""
    workers: int = Field(default=0, ge=0)
    """Processes that read and warp training images beside the one that trains; 0 = that one does it."""
    decode: Literal["argmax", "soft-argmax", "subpixel"] = "subpixel"
    """The rule by which maps are read as points: see ``inference.decode``."""

    @field_validator("patient")
    @classmethod
    def _check_patient(cls, pattern: str | None) -> str | None:
        try:
            brackets = re.compile(pattern or "()").groups
        except re.error as error:
            raise ValueError(f"expected a regular expression ({error})") from None
        if not brackets:
            raise ValueError("expected a bracket around the patient")
        return pattern


class FrameConfig(LightningConfig):
    """The settings of a network of Lightning's that finds points on frames."""

    batch: int = Field(default=16, ge=1)
    """Frames of a step."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Of the optimiser: the share by which weights shrink a step, times the learning rate."""
    phantoms: int = Field(default=0, ge=0)
    """Made-up frames added to the training frames."""
