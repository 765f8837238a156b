"""Sample predictions while training: truth as dots, prediction as crosses, the sum of the maps beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from aop_pose.io.atomic import replacing
from aop_pose.io.lettering import Colour
from aop_pose.io.overlay import colours
from aop_pose.runtime import read_output

COUNT = 4
SIDE = 256


def write_samples(module: Any, file: Path) -> None:
    """Draw the first checked frames (else the first that train) into one PNG; nothing for a stage without points."""
    contract = getattr(module, "contract", None)
    if contract is None:
        return
    dataset = module.checks if len(module.checks) else module.frames
    rows, paints = [], colours(contract.schema_of_points.points)
    training = module.kept.training
    module.kept.eval()
    for index in range(min(COUNT, len(dataset))):
        gray = dataset.pictures[index][None, None].float() / 255
        with torch.no_grad():
            output = module.kept.answer(gray.to(module.device))[0].cpu().numpy()
        points, _ = read_output(output, contract)
        picture = cv2.cvtColor(dataset.pictures[index].numpy(), cv2.COLOR_GRAY2BGR)
        zoom = SIDE / picture.shape[0]
        panel = cv2.resize(picture, (SIDE, SIDE))
        for colour, true, found in zip(paints, dataset.points[index].numpy(), points, strict=True):
            cv2.circle(panel, _pixel(true, zoom), 3, colour, -1)
            if np.isfinite(found).all():
                cv2.drawMarker(panel, _pixel(found, zoom), colour, cv2.MARKER_TILTED_CROSS, 11, 1)
        rows.append(np.hstack([panel, _heat(output, paints)]) if contract.head == "heatmap" else panel)
    module.kept.train(training)
    file.parent.mkdir(exist_ok=True)
    with replacing(file) as part:
        part.write_bytes(cv2.imencode(".png", np.vstack(rows))[1].tobytes())


def _heat(maps: np.ndarray, paints: list[Colour]) -> np.ndarray:
    """The maps in the colours of their points, (SIDE, SIDE, 3)."""
    mixed = np.tensordot(np.clip(maps, 0, 1), np.array(paints, np.float32), axes=(0, 0))
    return cv2.resize(np.clip(mixed, 0, 255).astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)


def _pixel(point: np.ndarray, zoom: float) -> tuple[int, int]:
    x, y = (point + 0.5) * zoom - 0.5
    return round(float(x)), round(float(y))
