"""Draw made-up frames that are withheld, each with the reason of its row below it, as one PNG for the guide."""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np

from aop_pose.core.frame import Frame
from aop_pose.draw.frame import contact_sheet, write_overlay
from aop_pose.errors import AopPoseError
from aop_pose.geometry import FETAL_HEAD, SYMPHYSIS
from aop_pose.measuring.measurer import Measurer
from aop_pose.phantom.frame import make_empty, make_phantom
from aop_pose.phantom.looks import paint_out
from aop_pose.pipelines import open_weights
from lib import negatives

TILE = 300
LINES, LETTERS = 4, 46
"""Of the reason below a picture, at most, and letters of a line."""


def refused(seed: int) -> dict[str, np.ndarray]:
    """Name -> gray picture (H, W) uint8 that shows what must not be measured, made of one phantom."""
    phantom, rng = make_phantom(seed, 0), np.random.default_rng(seed)
    pixels, ends = phantom.frame.pixels, phantom.keypoints.coords[:2]
    page = np.full((256, 256), 245, np.uint8)
    for line in range(30, 250, 24):
        cv2.putText(page, "Report, page 1 of 2", (14, line), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 20, 1, cv2.LINE_AA)
    return {
        "the sector is cut": negatives.cut_sector(pixels, ends),
        "no symphysis": paint_out(pixels, phantom.mask == SYMPHYSIS, rng),
        "no head": paint_out(pixels, phantom.mask == FETAL_HEAD, rng),
        "no anatomy": make_empty(seed, 0),
        "two images": np.hstack([pixels, pixels]),
        "four images": np.block([[pixels, pixels], [pixels, pixels]]),
        "a page of writing": page,
        "noise": negatives.noise(rng),
    }


def tile(name: str, pixels: np.ndarray, told: str) -> np.ndarray:
    """A picture with its name above and what its row says below, BGR."""
    side = max(pixels.shape)
    size = (round(TILE * pixels.shape[1] / side), round(TILE * pixels.shape[0] / side))
    shown = np.zeros((TILE + 24 + 16 * LINES, TILE, 3), np.uint8)
    left, top = (TILE - size[0]) // 2, 24 + (TILE - size[1]) // 2
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    shown[top : top + size[1], left : left + size[0]] = small[..., None]
    font, gray = cv2.FONT_HERSHEY_SIMPLEX, (225, 225, 225)
    cv2.putText(shown, name, (6, 17), font, 0.5, (90, 225, 255), 1, cv2.LINE_AA)
    for number, line in enumerate(textwrap.wrap(told, LETTERS, max_lines=LINES, placeholder=" ...")):
        cv2.putText(shown, line, (6, 24 + TILE + 13 + 16 * number), font, 0.36, gray, 1, cv2.LINE_AA)
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Example: python tools/refused_picture.py --out docs/pictures/refused.png"
    )
    parser.add_argument("--weights", default="aop-fast", metavar="W", help="a name, file or run (default aop-fast)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    given = parser.parse_args()
    try:
        pictures = refused(given.seed)
        measurer = Measurer(open_weights(given.weights, "aop", "cpu"))
        results = measurer.results([Frame(np.ascontiguousarray(pixels)) for pixels in pictures.values()])
    except AopPoseError as error:
        print(f"refused_picture: error: {error}", file=sys.stderr)
        return error.exit_code
    said = [f"{result.status}: {result.reason}" if result.reason else result.status for result in results]
    for name, words in zip(pictures, said, strict=True):
        print(f"{name}: {words}")
    tiles = [tile(name, pixels, words) for (name, pixels), words in zip(pictures.items(), said, strict=True)]
    write_overlay(given.out, contact_sheet(tiles, tile=max(tiles[0].shape)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
