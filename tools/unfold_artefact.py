"""An artefact of a heatmap network -> a checkpoint that ``train --init`` goes on from, perhaps with further maps.

The exporter folds each batch normalisation into the convolution before it. Here each gets back the means and variances
that its convolution gives on training frames, and a scale and shift that undo them: the network answers as before, and
can be trained. Settings are those of the artefact's training run, changed by ``--set``; maps that it did not have begin
at random.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.csv_rows import read_list
from aop_pose.formats.label import find_picture
from aop_pose.formats.pictures import read_gray
from aop_pose.inference import predictor as runtime
from aop_pose.pipelines import pipeline
from aop_pose.pipelines.checkpoint import write_checkpoint
from aop_pose.pipelines.config import changed, validate
from aop_pose.pipelines.unet.config import UnetConfig

CLOSE = 1e-3
"""Largest difference of maps, whose peaks are 1, between the artefact and the checkpoint."""


def tensors_of(model: onnx.ModelProto, member: str) -> list[list[np.ndarray]]:
    """Weights of each convolution and bare normalisation, in the order in which they are computed.

    ``member``: the beginning of the names of one network of a merged artefact; empty for a single one.
    """
    known = {one.name: numpy_helper.to_array(one).astype(np.float32) for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in known:
            known[node.output[0]] = known[node.input[0]]
    return [
        [known[name] for name in node.input[1:]]
        for node in model.graph.node
        if node.op_type in ("Conv", "BatchNormalization") and node.name.startswith(member)
    ]


def layers_of(network: Any, gray: torch.Tensor) -> list[tuple[nn.Module, nn.BatchNorm2d | None]]:
    """Convolutions with the normalisation that was folded into them, and bare normalisations, as they are computed."""
    order: list[tuple[nn.Module, torch.Tensor, torch.Tensor]] = []

    def note(module: nn.Module, given: tuple[torch.Tensor, ...], answer: torch.Tensor) -> None:
        order.append((module, given[0], answer))

    modules = [one for one in network.modules() if isinstance(one, (nn.Conv2d, nn.BatchNorm2d))]
    hooks = [one.register_forward_hook(note) for one in modules]
    network(gray)
    for hook in hooks:
        hook.remove()
    found: list[tuple[nn.Module, nn.BatchNorm2d | None]] = []
    before: torch.Tensor | None = None
    for module, given, answer in order:
        if isinstance(module, nn.BatchNorm2d) and given is before:
            found[-1] = (found[-1][0], module)
        else:
            found.append((module, None))
        before = answer
    return found


@torch.no_grad()
def unfold(network: Any, tensors: list[list[np.ndarray]], frames: torch.Tensor) -> None:
    """Fill a network in evaluation mode; UsageError where the tensors are those of another one."""
    layers = layers_of(network, frames[:1])
    if len(layers) < len(tensors):
        raise UsageError(f"expected the {len(layers)} layers of its settings, found {len(tensors)} in the artefact")
    folded: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    # Layers of further maps come last and stay as they begin.
    for (layer, norm), values in zip(layers, tensors, strict=False):
        given = [torch.from_numpy(value.copy()) for value in values]
        if isinstance(layer, nn.BatchNorm2d):
            for name, value in zip(("weight", "bias", "running_mean", "running_var"), given, strict=True):
                getattr(layer, name).copy_(value)
            continue
        assert isinstance(layer, nn.Conv2d)
        if layer.weight.shape != given[0].shape:
            raise UsageError(f"expected a layer {tuple(layer.weight.shape)}, found {tuple(given[0].shape)}")
        layer.weight.copy_(given[0])
        if norm is None:
            assert layer.bias is not None
            layer.bias.copy_(given[1])
        else:
            norm.weight.fill_(float(np.sqrt(1 + norm.eps)))
            norm.bias.copy_(given[1])
            norm.running_mean.zero_()
            norm.running_var.fill_(1.0)
            folded.append((layer, norm))
    _restore(network, folded, frames)


def _restore(network: Any, folded: list[tuple[nn.Conv2d, nn.BatchNorm2d]], frames: torch.Tensor) -> None:
    sums: dict[nn.Module, list[torch.Tensor]] = {}

    def note(module: nn.Module, _: Any, answer: torch.Tensor) -> None:
        values = answer.double()
        sums.setdefault(module, []).append(torch.stack([values.mean((0, 2, 3)), (values**2).mean((0, 2, 3))]))

    hooks = [layer.register_forward_hook(note) for layer, _ in folded]
    for start in range(0, len(frames), 16):
        network(frames[start : start + 16])
    for hook in hooks:
        hook.remove()
    for layer, norm in folded:
        mean, square = torch.stack(sums[layer]).mean(dim=0)
        variance = (square - mean**2).clamp_min(1e-6).float()
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.add_(mean.float())


def run(given: argparse.Namespace) -> None:
    predictor = runtime.load(given.artefact)
    model = onnx.load(given.artefact)
    facts = predictor.contract.training_run
    runs = facts.get("members", [facts])
    if not 0 <= given.member < len(runs):
        raise UsageError(f"--member: expected 0 to {len(runs) - 1}, found {given.member}")
    settings = json.loads(given.run.read_text()) if given.run else runs[given.member]
    if "config" not in settings:
        raise UsageError(f"{given.artefact}: holds no settings of its training; name its record by --run run.json")
    config = validate(UnetConfig, {**settings["config"], **changed(given.set)}, "--set")
    network = pipeline("unet").network("train", config)  # type: ignore[attr-defined]
    network.eval()
    names = read_list(given.data / given.frames)[: given.count]
    pixels = [read_gray(find_picture(given.data, name)) for name in names]
    frames = np.stack([runtime.fit(one, config.image_size)[0] for one in pixels])[:, None].astype(np.float32) / 255
    unfold(network, tensors_of(model, f"m{given.member}/" if len(runs) > 1 else ""), torch.from_numpy(frames))
    count = len(predictor.schema.points)
    with torch.no_grad():
        answer = network.answer(torch.from_numpy(frames[:4]))[:, :count].numpy()
    if len(runs) == 1:
        gap = float(np.abs(answer - predictor.network(frames[:4])[:, :count]).max())
        if not gap < CLOSE:
            raise AopPoseError(f"the checkpoint answers otherwise than the artefact: maps differ by {gap:.2g}")
        print(f"maps differ by {gap:.1e}")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(given.out, "unet", "train", config, network)
    print(f"{given.out}: member {given.member} of {predictor.model_id}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python tools/unfold_artefact.py aop-fast.onnx --data psfhs --frames unlabelled.txt --out a.pt",
    )
    parser.add_argument("artefact", type=Path, metavar="FILE.onnx")
    parser.add_argument("--member", type=int, default=0, help="which network of a merged artefact (default 0)")
    parser.add_argument("--run", type=Path, metavar="RUN.json", help="record of its training, if it holds none itself")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--frames", required=True, metavar="LIST", help="frames that its normalisations are set on")
    parser.add_argument("--count", type=int, default=128, help="how many of them")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another setting")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.pt")
    try:
        run(parser.parse_args())
    except AopPoseError as error:
        print(f"unfold_artefact: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
