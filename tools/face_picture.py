"""Draw a made-up fetal head as ``predict`` draws one: a picture that shows no patient.

With the points that ``fetal-face`` finds and the true ones beside them, or with the true ones alone.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from ablation import guarded

from aop_pose.draw.volume import volume_sheet
from aop_pose.errors import UsageError
from aop_pose.inference.weights import load
from lib.fetal_head import fetal_head


def run(given: argparse.Namespace) -> None:
    volume, truth = fetal_head(given.seed)
    if given.true_points:
        write(given.out, volume_sheet(volume, truth))
        return
    found = load(given.weights, "fetal_face").find(volume).keypoints
    if found is None:
        raise UsageError("--seed: expected a phantom that is found, found none; take another")
    # Which eye is called the left one is nobody's error.
    crossed = np.linalg.norm(found.coords[[0, 2, 1]] - truth.coords, axis=1).sum()
    if crossed < np.linalg.norm(found.coords - truth.coords, axis=1).sum():
        truth = type(truth)(truth.schema, truth.coords[[0, 2, 1]], truth.scores)
    write(given.out, volume_sheet(volume, found, truth))


def write(out: Path, sheet: np.ndarray) -> None:
    """A picture as a file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(out), sheet):
        raise UsageError(f"--out: expected a name that ends in .png in a writable folder, found {out}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--weights", help="artefact; default: the shipped one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--true-points", action="store_true", help="draw these alone, and ask no network")
    return guarded("face_picture", partial(run, parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
