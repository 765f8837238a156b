"""Checkpoints: a state dict plus its configuration, read without running anything they hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Generic

import attrs
import torch
from torch import nn

from aop_pose.errors import UsageError
from aop_pose.pipelines.config import C, Config, validate
from aop_pose.pipelines.run import WEIGHTS
from aop_pose.provenance import sha256_of

STARTS = "auto, scratch, a checkpoint or a run folder"


@attrs.frozen(eq=False)
class Checkpoint(Generic[C]):
    """The content of a ``.pt`` file of a pipeline."""

    stage: str
    config: C
    state: dict[str, torch.Tensor]


def write_checkpoint(path: Path, method: str, stage: str, config: Config, network: nn.Module) -> None:
    """The file appears when it is complete."""
    state = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    part = path.with_name(f"{path.name}.part")
    torch.save({"method": method, "stage": stage, "config": config.model_dump(mode="json"), "state": state}, part)
    os.replace(part, path)


def read_checkpoint(path: Path, what: str, method: str, kind: type[C]) -> Checkpoint[C]:
    """UsageError that begins with ``what`` where the file is no checkpoint of that pipeline."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # Fed with damaged bytes, torch raises nearly anything (UnpicklingError, struct.error, IndexError, ...).
    except Exception as error:
        raise UsageError(f"{what}: {path} is not a checkpoint of --method {method} ({type(error).__name__})") from None
    expected = {"method", "stage", "config", "state"}
    if not (isinstance(content, dict) and expected <= content.keys() and content["method"] == method):
        raise UsageError(f"{what}: {path}: expected a checkpoint of --method {method}, found another file")
    return Checkpoint(content["stage"], validate(kind, dict(content["config"]), str(path)), content["state"])


def read_trained(path: Path, method: str, kind: type[C]) -> Checkpoint[C]:
    """A checkpoint that finds points; UsageError where it is of another stage."""
    found = read_checkpoint(path, "weights", method, kind)
    if found.stage != "train":
        raise UsageError(f"weights: {path}: expected the stage train, found {found.stage}; train from it with --init")
    return found


def fill(network: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Load a checkpoint's whole state; UsageError where it does not fit."""
    if wrong := misfits(network, state):
        raise UsageError(f"weights: {path} does not fit its own configuration: {wrong[0]} (and {len(wrong) - 1} more)")
    network.load_state_dict(state)


def file_to_start(init: str) -> Path:
    """The checkpoint that ``--init`` names; UsageError where there is none."""
    path = Path(init)
    file = path / WEIGHTS / "best.pt" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"--init: expected {STARTS}, found nothing at {file}")
    return file


@attrs.frozen
class Transfer:
    """The origin of a network's first weights."""

    words: str
    moved: int
    """Tensors that were taken over."""
    tensors: int
    """Tensors of the network."""

    def __str__(self) -> str:
        return f"{self.words}; {self.moved} of {self.tensors} tensors transferred"


def scratch(network: nn.Module) -> Transfer:
    """Nothing is taken over."""
    return Transfer("scratch (random weights)", 0, len(network.state_dict()))


def transfer(network: nn.Module, given: dict[str, torch.Tensor], prefix: str, file: Path) -> Transfer:
    """Fill a new network with what fits of a checkpoint's tensors.

    Everything below ``prefix`` has to fit; the last layers come along where their shapes do.

    Raises:
        UsageError: what lies below ``prefix`` has another shape (each mismatch is listed).
    """
    wrong = misfits(network, {key: value for key, value in given.items() if key.startswith(prefix)}, prefix)
    if wrong:
        raise UsageError(f"--init: {file} does not fit: {'; '.join(wrong[:4])}{' ...' if len(wrong) > 4 else ''}")
    mine = network.state_dict()
    fitting = {key: value for key, value in given.items() if key in mine and mine[key].shape == value.shape}
    network.load_state_dict(fitting, strict=False)
    return Transfer(f"{file.name} (sha256 {sha256_of(file)[:12]})", len(fitting), len(mine))


def misfits(network: nn.Module, given: dict[str, Any], prefix: str = "") -> list[str]:
    """``name: shape in file -> shape in network`` of each tensor below ``prefix`` that the file lacks or has otherwise.

    A file may hold more than the network needs: a decoder is of no use to a head without one.
    """
    wrong = []
    for key, value in network.state_dict().items():
        if key.startswith(prefix) and (key not in given or given[key].shape != value.shape):
            found = tuple(given[key].shape) if key in given else "nothing"
            wrong.append(f"{key}: {found} -> {tuple(value.shape)}")
    return wrong


SAFETENSORS = ".safetensors"
COUNTERS = "num_batches_tracked"
"""Of batch normalisation; files without them are whole."""


def is_foreign(file: Path) -> bool:
    """True for a file of tensors that names no pipeline: safetensors, or a state dict as timm and torch save it."""
    if file.suffix == SAFETENSORS:
        return True
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    # Fed with damaged bytes, torch raises nearly anything; reading it as a checkpoint says so.
    except Exception:
        return False
    return isinstance(content, dict) and "method" not in content


def fill_encoder(network: nn.Module, body: nn.Module, name: str, file: Path) -> Transfer:
    """Fill ``body``, timm's feature maps of the network ``name``, from weights that timm or others trained.

    Of a first convolution for colours the sum over them is taken, since the picture is gray. What the file holds
    besides, a classifier, is left out and named.

    Raises:
        UsageError: the file is unreadable, or of another encoder (each mismatch is listed).
    """
    given = _tensors(file)
    mine = body.state_dict()
    # Of a sequence that timm takes apart the names are joined by another sign.
    by_name = {_canonical(key): key for key in given}
    fitting: dict[str, torch.Tensor] = {}
    wrong = []
    for key, value in mine.items():
        found = given.get(by_name.get(_canonical(key), ""))
        if found is not None and found.shape != value.shape:
            found = _gray(found, value)
        if found is not None and found.shape == value.shape:
            fitting[key] = found.to(value.dtype)
        elif not key.endswith(COUNTERS):
            was = "nothing" if found is None else tuple(found.shape)
            wrong.append(f"{key}: {was} -> {tuple(value.shape)}")
    if wrong:
        raise UsageError(
            f"--init: {file} does not fit the encoder {name} ({len(wrong)} of {len(mine)} tensors): "
            f"{'; '.join(wrong[:4])}{' ...' if len(wrong) > 4 else ''}"
        )
    body.load_state_dict(fitting, strict=False)
    used = {_canonical(key) for key in fitting}
    left = [key for key in given if _canonical(key) not in used]
    words = f"{file.name} (sha256 {sha256_of(file)[:12]}), weights of timm for {name}"
    if left:
        words += f"; left out: {', '.join(left[:3])}{f' and {len(left) - 3} more' if len(left) > 3 else ''}"
    return Transfer(words, len(fitting), len(network.state_dict()))


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file, by name; UsageError where it holds none."""
    try:
        if file.suffix == SAFETENSORS:
            from safetensors.torch import load_file

            content: Any = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
            content = next(
                (content[key] for key in ("state_dict", "model") if isinstance(content.get(key), dict)), content
            )
    except Exception as error:
        raise UsageError(f"--init: {file} is no file of weights ({type(error).__name__})") from None
    found = {
        str(key).removeprefix("module."): value for key, value in content.items() if isinstance(value, torch.Tensor)
    }
    if not found:
        raise UsageError(f"--init: {file}: expected tensors by name, found none")
    return found


def _canonical(key: str) -> str:
    return key.replace("_", ".")


def _gray(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The sum over three colours of a convolution's weights where the network sees gray; else as they are."""
    colours = found.ndim == wanted.ndim == 4 and (found.shape[1], wanted.shape[1]) == (3, 1)
    return found.sum(dim=1, keepdim=True) if colours else found
