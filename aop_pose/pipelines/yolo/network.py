"""A trained YOLO pose network as ``inference`` sees it: in torch, or exported to ONNX."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics.nn.modules.head import Pose

from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.inference.predictor import Contract, Predictor
from aop_pose.inference.weights import AnyPredictor
from aop_pose.pipelines.config import validate
from aop_pose.pipelines.export import checkpoint_of, decoded_by, run_facts, write_artefact
from aop_pose.pipelines.run import RECORD
from aop_pose.pipelines.start import Start, read_checkpoint
from aop_pose.pipelines.yolo.config import YoloConfig
from aop_pose.provenance import sha256_of


class GrayPose(torch.nn.Module):
    """Input (B, 1, S, S) gray in [0, 1]; output (B, 5 + 2 n, anchors), points in pixel centres of the input.

    The score is that of class 0: further classes are boxes that only training needed.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        return self.first_class(self.model(gray.expand(-1, 3, -1, -1)))

    def first_class(self, output: Any) -> torch.Tensor:
        """Ultralytics' (B, 4 + classes + 2 n, anchors), perhaps first of a tuple, without the further classes."""
        output = output[0] if isinstance(output, (tuple, list)) else output
        classes = self.model.model[-1].nc
        return output if classes == 1 else torch.cat([output[:, :5], output[:, 4 + classes :]], dim=1)


class TorchNetwork:
    """The network as it was trained; callable as ``inference.predictor.Network``."""

    def __init__(self, model: torch.nn.Module, device: torch.device | str = "cpu"):
        self.module = GrayPose(model).eval().to(device)
        self.device = device

    @torch.no_grad()
    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        self.module.eval()
        return self.module(torch.from_numpy(inputs).to(self.device)).float().cpu().numpy()


def load_checkpoint(path: Path) -> Any:
    """A pose checkpoint; UsageError where it is none, or not a network for the points of schema ``aop``."""
    model = read_checkpoint(path, "weights")
    head = model.model[-1]
    if not isinstance(head, Pose) or list(head.kpt_shape) != [len(AOP.points), 2]:
        found = f"keypoint shape {list(head.kpt_shape)}" if isinstance(head, Pose) else type(head).__name__
        raise UsageError(f"weights: {path}: expected a pose head with keypoint shape [3, 2], found {found}")
    return model


def export_onnx(model: Any, image_size: int, path: Path) -> None:
    """Write the fused network, first convolution folded to one gray channel, with a free batch size."""
    model = copy.deepcopy(model).float().eval()
    model.fuse(verbose=False)
    head = model.model[-1]
    head.export, head.format, head.dynamic = True, "onnx", False
    fold_gray(model)
    example = torch.zeros(2, 1, image_size, image_size)
    wrapper = FoldedPose(model).eval()
    with torch.no_grad(), warnings.catch_warnings():
        # The newer exporter needs one more package and gives nothing more for a plain convolutional network.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Anchors are traced as constants: right, since only the batch size is free.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        wrapper(example)
        torch.onnx.export(
            wrapper,
            (example,),
            str(path),
            input_names=["gray"],
            output_names=["candidates"],
            dynamic_axes={"gray": {0: "batch"}, "candidates": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )


class FoldedPose(GrayPose):
    """As ``GrayPose``, for a network whose first convolution takes one channel."""

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        return self.first_class(self.model(gray))


def fold_gray(model: torch.nn.Module) -> None:
    """Three equal channels through a convolution are one channel through the sum of its weights."""
    first = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))
    first.weight = torch.nn.Parameter(first.weight.sum(dim=1, keepdim=True), requires_grad=False)
    first.in_channels = 1


def transfer(start: Start, model: str, classes: int = 1) -> tuple[int, int]:
    """Number of tensors of a pose network of that size that the start fills whole, and of all that it has.

    The head differs between tasks; backbone and neck must fit whole. UsageError where they do not.
    """
    from ultralytics.nn.tasks import PoseModel

    wanted = PoseModel(f"{model}-pose.yaml", nc=classes, data_kpt_shape=[len(AOP.points), 2], verbose=False)
    if start.model is None:
        return 0, len(wanted.state_dict())
    # Ultralytics gives the head the width of the start's where only that differs, so it is asked rather than guessed.
    wanted.load(start.model, verbose=False)
    tensors, given = wanted.state_dict(), start.model.state_dict()
    fitting = {key for key, value in tensors.items() if key in given and given[key].shape == value.shape}
    body = [key for key in tensors if not key.startswith(f"model.{len(wanted.model) - 1}.")]
    if missing := [key for key in body if key not in fitting]:
        raise UsageError(
            f"--init: expected all {len(body)} backbone and neck tensors of {model}, "
            f"found {len(body) - len(missing)} in {start.words} (first that does not fit: {missing[0]})"
        )
    return len(fitting), len(tensors)


def predictor(path: Path, device: str = "cpu") -> Predictor:
    """The network of a run folder or checkpoint, decoded as its artefact will be."""
    file, contract = _contract(path)
    model = load_checkpoint(file)
    return Predictor(contract, TorchNetwork(model, device), f"{contract.name}@{sha256_of(file)[:8]}")


def export(path: Path, out: Path, threshold: float | None = None, decode: str | None = None) -> AnyPredictor:
    """See ``Pipeline.export``."""
    file, contract = _contract(path)
    named = decoded_by(contract.model_copy(update={"name": out.stem}), threshold, decode)
    model = load_checkpoint(file)
    return write_artefact(out, named, lambda part: export_onnx(model, contract.image_size, part), TorchNetwork(model))


def _contract(path: Path) -> tuple[Path, Contract]:
    """Checkpoint file and contract of a run folder, of a checkpoint within one, or of a lone checkpoint."""
    file, folder = checkpoint_of(path)
    run = run_facts(folder)
    if run is None:
        config, run = YoloConfig(), {"name": file.name, "note": "a checkpoint without its run folder"}
    else:
        config = validate(YoloConfig, run["config"], str(folder / RECORD))
    return file, Contract(
        name=folder.name if path.is_dir() else file.stem, schema=AOP.name, head="pose", image_size=config.image_size,
        threshold=config.threshold, decode=config.decode, training_run=run,
    )  # fmt: skip
