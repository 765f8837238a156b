"""From a run folder or checkpoint to a predictor: the network as it was trained, or written as an artefact."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs
import numpy as np
import torch
from torch import nn

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference.decode import RULES
from aop_pose.inference.engine import TORCH, Network
from aop_pose.inference.predictor import DECODE_RULES, METADATA_KEY, Contract, Predictor, open_artefact
from aop_pose.inference.predictor import predictor_of as frame_predictor_of
from aop_pose.inference.volume_predictor import VolumeContract, VolumePredictor, measures_volumes, volume_predictor_of
from aop_pose.inference.weights import AnyPredictor
from aop_pose.pipelines.run import RECORD, WEIGHTS, read_record
from aop_pose.provenance import sha256_of

SomeContract = Contract | VolumeContract
TOLERANCES = {"heatmap": 0.05, "volume-heatmap": 1e-3}
"""Head of a contract -> how far an exported network may be from the trained one: shares of a map's full height."""
TOLERANCE = 0.05
"""Of any other head, in pixels of the input."""
KEPT = (
    "method", "stage", "seed", "data", "start", "started", "git_commit", "versions", "best", "finished", "precision",
)  # fmt: skip
"""The entries of run.json that go into the contract."""
OUTPUTS = {"heatmap": "maps", "coordinates": "points", "volume-heatmap": "maps"}
"""Head of a contract -> name of the output in the ONNX file."""


def checkpoint_of(path: Path) -> tuple[Path, Path]:
    """The checkpoint and the run folder of a run folder, or of a checkpoint within one.

    UsageError where there is no checkpoint; the folder need not hold a run.
    """
    folder = path if path.is_dir() else path.parent.parent
    file = path / WEIGHTS / "best.pt" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"weights: expected a trained checkpoint, found nothing at {file}")
    return file, folder


def run_facts(folder: Path) -> dict[str, Any] | None:
    """The training run in the words of a contract; None where the folder holds none."""
    if not (folder / RECORD).is_file():
        return None
    record = read_record(folder)
    run = {"name": folder.name, **{key: record.get(key) for key in KEPT}, "config": record["config"]}
    run["data"] = without_folders(run["data"])
    facts: dict[str, Any] = json.loads(json.dumps(run))
    return facts


def without_folders(value: Any) -> Any:
    """Absolute paths, also in a command, cut to names: an artefact says what it was made from, not where that lay."""
    if isinstance(value, dict):
        return {key: without_folders(one) for key, one in value.items()}
    if not isinstance(value, str):
        return value
    return " ".join(Path(word).name if Path(word).is_absolute() else word for word in value.split(" "))


def decoded_by(contract: SomeContract, threshold: float | None, decode: str | None) -> SomeContract:
    """The contract with another threshold or rule where one is given; UsageError where its head has no such thing."""
    rules = DECODE_RULES.get(contract.head, RULES)
    if decode is not None and decode not in rules:
        raise UsageError(f"--decode: expected {' or '.join(rules)} for head {contract.head}, found {decode!r}")
    if threshold is not None and contract.head == "coordinates":
        raise UsageError("--threshold: expected a head with scores, found coordinates, which has none; leave it out")
    given = {key: value for key, value in {"threshold": threshold, "decode": decode}.items() if value is not None}
    return contract.model_copy(update=given)


def predictor_of(contract: SomeContract, network: Network, model_id: str) -> AnyPredictor:
    """The predictor of a contract's kind of image."""
    if isinstance(contract, VolumeContract):
        return VolumePredictor(contract=contract, network=network, model_id=model_id, engine=TORCH)
    return Predictor(contract, network, model_id, engine=TORCH)


def write_artefact(
    out: Path, contract: SomeContract, write_onnx: Callable[[Path], None], trained: Network
) -> AnyPredictor:
    """Write a network with its contract and load it back.

    The file appears under its name only when its answers equal the trained network's.

    Args:
        out: the ``.onnx`` file.
        contract: what the artefact will say of itself.
        write_onnx: writes the bare network to the given path.
        trained: the network as it was trained.

    Raises:
        AopPoseError: the two answer differently.
    """
    import onnx

    part = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_onnx(part)
        network = onnx.load(part)
        onnx.helper.set_model_props(network, {METADATA_KEY: contract.model_dump_json(by_alias=True)})
        onnx.save(network, part)
        _check_same_answers(trained, _loaded(part).network, contract)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return _loaded(out)


def _loaded(file: Path) -> AnyPredictor:
    opened = open_artefact(file)
    return volume_predictor_of(opened) if measures_volumes(opened) else frame_predictor_of(opened)


def _check_same_answers(trained: Network, exported: Network, contract: SomeContract) -> None:
    """AopPoseError where the two differ on a fixed noise image."""
    for stage, size in enumerate(_sizes(contract)):
        noise = np.random.default_rng(0).random((1, 1, *size), dtype=np.float32)
        number = (stage,) if stage else ()
        one, other = trained(noise, *number), exported(noise, *number)
        if contract.head == "pose":
            one, other = one[:, 5:], other[:, 5:]
        gap, allowed = float(np.abs(one - other).max()), TOLERANCES.get(contract.head, TOLERANCE)
        if not gap < allowed:
            what = "maps" if contract.head in TOLERANCES else "points (px)"
            raise AopPoseError(f"export: trained and exported {what} differ by {gap:.2g}, expected less than {allowed}")


def _sizes(contract: SomeContract) -> list[tuple[int, ...]]:
    """Of the input of each network that an artefact holds."""
    if isinstance(contract, VolumeContract):
        return [contract.size, *(stage.size for stage in contract.stages)]
    return [(contract.image_size, contract.image_size)]


class Landmarks(Protocol):
    """A network that finds points. ``answer`` gives what the contract's head promises."""

    def answer(self, gray: torch.Tensor) -> torch.Tensor: ...


@attrs.frozen(eq=False)
class Trained:
    """A network from a checkpoint, in evaluation mode, and what it promises under a name and after a run."""

    network: nn.Module
    contract: Callable[[str, dict[str, Any]], SomeContract]


class TorchNetwork:
    """The network as it was trained; callable as ``inference.predictor.Network``."""

    def __init__(self, network: Any, device: torch.device | str = "cpu"):
        self.network, self.device = network.eval().to(device), device

    @torch.no_grad()
    def __call__(self, inputs: np.ndarray, stage: int = 0) -> np.ndarray:
        """``stage``: the look of a network that has several."""
        given = torch.from_numpy(inputs).to(self.device)
        return (self.network.answer(given, stage) if stage else self.network.answer(given)).cpu().numpy()


class Answering(nn.Module):
    """A network whose forward pass is its answer, as the exporter wants it."""

    def __init__(self, network: Any):
        super().__init__()
        self.network: Any = network

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        return self.network.answer(gray)


def predictor(path: Path, device: str, read: Callable[[Path], Trained]) -> AnyPredictor:
    """The network of a run folder or checkpoint as it was trained, decoded as its artefact will be.

    ``read`` makes the network from the checkpoint's file; UsageError where it is none of that pipeline.
    """
    file, folder = checkpoint_of(path)
    trained = read(file)
    contract = trained.contract(folder.name if path.is_dir() else file.stem, run_of(file, folder))
    network = TorchNetwork(trained.network, device)
    return predictor_of(contract, network, f"{contract.name}@{sha256_of(file)[:8]}")


def export(
    path: Path, out: Path, threshold: float | None, decode: str | None, read: Callable[[Path], Trained]
) -> AnyPredictor:
    """See ``Pipeline.export``; ``read`` as for ``predictor``."""
    file, folder = checkpoint_of(path)
    trained = read(file)
    contract = decoded_by(trained.contract(out.stem, run_of(file, folder)), threshold, decode)
    write = lambda part: _write_onnx(trained.network, contract, part)  # noqa: E731
    return write_artefact(out, contract, write, TorchNetwork(trained.network))


def run_of(file: Path, folder: Path) -> dict[str, Any]:
    """The run that a checkpoint stands in, in the words of an artefact."""
    return run_facts(folder) or {"name": file.name, "note": "a checkpoint without its run folder"}


def _write_onnx(network: nn.Module, contract: SomeContract, file: Path) -> None:
    """Frames with a free batch size, volumes with batch 1; batch normalisation is folded by the exporter.

    A network that has to be rewritten for it gives ``exported()``; one of several looks is written look by look.
    """
    sizes, head = _sizes(contract), OUTPUTS[contract.head]
    rewritten: Callable[..., nn.Module] | None = getattr(network, "exported", None)
    if len(sizes) == 1:
        return _write_one(Answering(network) if rewritten is None else rewritten(), contract, sizes[0], file)
    assert rewritten is not None
    parts = [file.with_name(f"{file.name}.{stage}") for stage in range(len(sizes))]
    try:
        for stage, (size, part) in enumerate(zip(sizes, parts, strict=True)):
            _write_one(rewritten(stage), contract, size, part)
        _join(parts, head, file)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def _write_one(wrapped: nn.Module, contract: SomeContract, size: tuple[int, ...], file: Path) -> None:
    frames, head = isinstance(contract, Contract), OUTPUTS[contract.head]
    example = torch.rand(2 if frames else 1, 1, *size)
    with torch.no_grad(), warnings.catch_warnings():
        # The newer exporter needs one more package and gives nothing more for a plain convolutional network.
        warnings.simplefilter("ignore", DeprecationWarning)
        # A normalisation without running statistics takes those of the image: that is its point.
        warnings.filterwarnings("ignore", message=".*operator 'instance_norm' is set to train")
        # A network that compares its own number of channels, which the input's size does not change.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        torch.onnx.export(
            wrapped.eval(), (example,), str(file), input_names=["gray"], output_names=[head],
            dynamic_axes={"gray": {0: "batch"}, head: {0: "batch"}} if frames else None, opset_version=17, dynamo=False,
        )  # fmt: skip


def _join(files: Sequence[Path], head: str, out: Path) -> None:
    """One network of several: its second input, ``stage``, is the number of the one that answers.

    Each stands in a branch of ``If`` nodes, so that only the one that is asked for runs.
    """
    import onnx
    from onnx import TensorProto, helper

    models = [onnx.load(file) for file in files]

    def branch(stage: int) -> onnx.GraphProto:
        prefix = f"stage{stage}_"
        graph = onnx.compose.add_prefix_graph(models[stage].graph, prefix)
        for node in graph.node:
            for place, name in enumerate(node.input):
                # What a branch does not make itself it sees around it.
                node.input[place] = "gray" if name == f"{prefix}gray" else name
        del graph.input[:]
        return graph

    def choose(stage: int) -> onnx.GraphProto:
        if stage == len(models) - 1:
            return branch(stage)
        answer = f"answer_from_{stage}"
        nodes = [
            helper.make_node("Constant", [], [f"number_{stage}"], value_int=stage),
            helper.make_node("Equal", ["stage", f"number_{stage}"], [f"is_{stage}"]),
            helper.make_node("If", [f"is_{stage}"], [answer], then_branch=branch(stage), else_branch=choose(stage + 1)),
        ]
        made = helper.make_tensor_value_info(answer, TensorProto.FLOAT, None)
        return helper.make_graph(nodes, f"from_{stage}", [], [made])

    inner = choose(0)
    nodes = [*inner.node, helper.make_node("Identity", [inner.output[0].name], [head])]
    free = ["batch", "channel", "i", "j", "k"]
    inputs = [
        helper.make_tensor_value_info("gray", TensorProto.FLOAT, free),
        helper.make_tensor_value_info("stage", TensorProto.INT64, []),
    ]
    outputs = [helper.make_tensor_value_info(head, TensorProto.FLOAT, ["batch", "maps", *free[2:]])]
    joined = helper.make_model(
        helper.make_graph(nodes, "looks", inputs, outputs),
        opset_imports=models[0].opset_import, ir_version=models[0].ir_version,
    )  # fmt: skip
    onnx.checker.check_model(joined)
    onnx.save(joined, out)
