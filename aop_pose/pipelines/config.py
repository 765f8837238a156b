"""Configurations: read from a preset or a file, changed by ``key=value``, and an unknown key is an error."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from aop_pose.errors import UsageError


class Config(BaseModel):
    """Base of every pipeline's configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    values = _read(presets, preset)
    for change in changes:
        key, sign, text = change.partition("=")
        if not sign:
            raise UsageError(f"--set: expected key=value, found {change!r}")
        try:
            values[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UsageError(f"--set: {key.strip()}: expected a value in YAML, found {text!r}") from None
    return validate(kind, values, preset)


def validate(kind: type[C], values: dict[str, Any], where: str) -> C:
    """The values as a configuration; UsageError in one line where they do not fit."""
    known = list(kind.model_fields)
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise UsageError(f"{where}: unknown setting {key!r}; did you mean {near!r}?")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            # Settings that do not go together: the whole configuration would be said again.
            raise UsageError(f"{where}: {first['ctx']['error']}") from None
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {name}: {first['msg']}; found {first['input']!r}") from None


def _read(presets: Path, preset: str) -> dict[str, Any]:
    known = sorted(path.stem for path in presets.glob("*.yaml"))
    path = presets / f"{preset}.yaml" if preset in known else Path(preset)
    if not path.is_file():
        raise UsageError(f"--preset: expected one of {', '.join(known)} or a YAML file, found {preset!r}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"--preset: {path} is not YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise UsageError(f"--preset: {path}: expected key: value lines, found {type(values).__name__}")
    return values
