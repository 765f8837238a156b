"""A submission to IUGC 2025 on Codabench (competition 7105), as its organisers describe it.

A zip with ``metadata``, ``model.py`` with a class ``model`` (``load(path)``, ``predict(X)``: a PIL picture -> six
numbers, x and y of PS1, PS2 and FH1 in its pixels) and ``model.pth``. Nothing but numpy, Pillow and torch is there to
run it: the network travels as TorchScript, the reading of its answer as the very file that reads it here.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aop_pose.core.schemas import AOP
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference.predictor import Predictor
from aop_pose.inference.weights import AnyPredictor
from aop_pose.io.files import replacing
from aop_pose.pipelines.export import TOLERANCE, TOLERANCES, Answering, TorchNetwork

FORMAT = "codabench-2025"
_MODEL = '''"""Submission to IUGC 2025, written by aop-pose export --format codabench-2025. AGPL-3.0-or-later."""

import os

import numpy as np
import torch
from PIL import Image

from decode import decode_pose, read_maps

SIZE, HEAD, RULE = {size}, {head!r}, {rule!r}
PAD = 114


class model:
    def __init__(self):
        self.network = None

    def load(self, path="./"):
        self.network = torch.jit.load(os.path.join(path, "model.pth"), map_location="cpu").eval()
        return self

    def predict(self, X):
        """A PIL picture -> x1, y1, x2, y2, x3, y3 of PS1, PS2, FH1 in its pixels, shape (6,)."""
        gray = X.convert("L")
        width, height = gray.size
        scale = min(SIZE / height, SIZE / width)
        new = max(1, round(width * scale)), max(1, round(height * scale))
        if new != gray.size:
            gray = gray.resize(new, Image.BOX if scale < 1 else Image.BILINEAR)
        left, top = (SIZE - new[0]) // 2, (SIZE - new[1]) // 2
        canvas = np.full((SIZE, SIZE), PAD, np.uint8)
        canvas[top : top + new[1], left : left + new[0]] = np.asarray(gray)
        with torch.no_grad():
            inputs = torch.from_numpy(canvas[None, None].astype(np.float32) / 255.0)
            output = self.network(inputs)[0].float().numpy()
        if HEAD == "heatmap":
            points = read_maps(output[:3], RULE, [], SIZE)[0]
        elif HEAD == "pose":
            points = decode_pose(output, RULE)[0]
        else:
            points = output.astype(np.float64)
        found = (points - (left, top) + 0.5) / (new[0] / width, new[1] / height) - 0.5
        # An answer is asked for every picture: the middle where there is none.
        return np.where(np.isfinite(found), found, ((width - 1) / 2, (height - 1) / 2)).reshape(6)

    def save(self, path="./"):
        pass
'''


def write_submission(predictor: AnyPredictor, out: Path) -> None:
    """Write the zip of a network that was loaded from its checkpoint; it appears under its name when it is complete.

    Raises:
        UsageError: it finds other points than those of the challenge, or is an artefact, whose network is no torch one.
        AopPoseError: the network as TorchScript answers otherwise than as it was trained.
    """
    if not isinstance(predictor, Predictor) or predictor.schema is not AOP:
        raise UsageError(f"--format {FORMAT}: expected a network that finds {', '.join(AOP.points)}, found another")
    contract = predictor.contract
    network = _module_of(predictor.network)
    scripted = _scripted(network, contract.image_size, contract.head)
    code = _MODEL.format(size=contract.image_size, head=contract.head, rule=contract.decode)
    with replacing(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        # The organisers' own is said to be copied as it is; it only marks a submission of code.
        archive.writestr("metadata", "")
        archive.writestr("model.py", code)
        archive.writestr("decode.py", files("aop_pose.inference").joinpath("decode.py").read_bytes())
        archive.writestr("model.pth", scripted)
        archive.writestr("training_run.json", json.dumps(contract.training_run, indent=1))


def _module_of(network: Any) -> torch.nn.Module:
    if isinstance(network, TorchNetwork):
        return Answering(network.network)
    module = getattr(network, "module", None)
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"--format {FORMAT}: expected a run folder or a checkpoint, found an artefact")
    return module


def _scripted(network: torch.nn.Module, size: int, head: str) -> bytes:
    """The network as TorchScript; AopPoseError where it answers otherwise."""
    example, other = torch.rand(2, 1, 1, size, size, generator=torch.Generator().manual_seed(0))
    network = network.float().cpu().eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network(example)
        traced = torch.jit.trace(network, example, check_trace=False)
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
        buffer.seek(0)
        answers = [one(other).numpy() for one in (network, torch.jit.load(buffer))]
    if head == "pose":
        answers = [answer[:, 5:] for answer in answers]
    gap, allowed = float(np.abs(answers[0] - answers[1]).max()), TOLERANCES.get(head, TOLERANCE)
    if not gap < allowed:
        raise AopPoseError(f"export: the submission's network differs by {gap:.2g}, expected less than {allowed}")
    return buffer.getvalue()
