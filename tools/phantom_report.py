"""Compare phantoms with real frames: a table of measured ranges, and a sheet with both side by side.

The sheet shows patients when real frames are given: keep it out of any repository.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.phantom import DEVICES, Phantom, make_phantom
from lib.realism import frame_statistics, ranges

COLOURS = ((80, 80, 255), (255, 160, 60), (255, 80, 255))
"""BGR of PS1, PS2, FH1."""


def read_real(folder: Path) -> list[np.ndarray]:
    """Every PNG of a folder as gray; UsageError where there is none."""
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise UsageError(f"--data: expected a folder of PNG frames, found none in {folder}")
    frames = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    return [frame for frame in frames if frame is not None]


def table(phantoms: list[Phantom], real: list[np.ndarray]) -> str:
    """Per statistic the 2.5th, 50th and 97.5th percentile; share of phantoms within the range of the real frames."""
    made = [frame_statistics(phantom.frame.pixels) for phantom in phantoms]
    spread = ranges(made)
    if not real:
        return "\n".join(f"{name:12} {_triple(spread[name])}" for name in spread)
    reference = ranges([frame_statistics(frame) for frame in real])
    lines = [f"{'statistic':12} {'real 2.5 / 50 / 97.5 %':>26} {'phantoms 2.5 / 50 / 97.5 %':>26}  within, per device"]
    for name, (low, _, high) in reference.items():
        shares = []
        for device in DEVICES:
            mine = [row[name] for row, phantom in zip(made, phantoms, strict=True) if phantom.device == device]
            shares.append(f"{device} {np.mean([low <= value <= high for value in mine]):4.0%}")
        lines.append(f"{name:12} {_triple(reference[name]):>26} {_triple(spread[name]):>26}  {', '.join(shares)}")
    return "\n".join(lines)


def sheet(phantoms: list[Phantom], real: list[np.ndarray], seed: int, columns: int = 4, side: int = 256) -> np.ndarray:
    """Rows of phantoms, one per device, their landmarks on the last; real frames drawn at random on the right."""
    rng = np.random.default_rng(seed)
    rows = []
    for device in DEVICES:
        mine = [phantom for phantom in phantoms if phantom.device == device][:columns]
        cells = [_tile(phantom.frame.pixels, side) for phantom in mine]
        if mine:
            cells[-1] = _with_landmarks(cells[-1], mine[-1])
        if real:
            cells += [_tile(real[i], side) for i in rng.choice(len(real), columns)]
        rows.append(np.hstack(cells))
    return np.vstack(rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/phantom_report.py --data psfhs/images --out /tmp/sheet.png",
    )
    parser.add_argument("--data", type=Path, help="folder of real PNG frames; without it only phantoms are measured")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write the sheet to")
    parser.add_argument("--count", type=int, default=50, help="phantoms per device (default 50)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the phantoms (default 0)")
    arguments = parser.parse_args()
    try:
        if arguments.count < 4:
            raise UsageError(f"--count: expected at least 4, found {arguments.count}")
        real = read_real(arguments.data) if arguments.data else []
        phantoms = [make_phantom(arguments.seed, i, device) for device in DEVICES for i in range(arguments.count)]
        print(table(phantoms, real))
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(arguments.out), sheet(phantoms, real, arguments.seed)):
            raise UsageError(f"--out: expected a name that ends in .png in a writable folder, found {arguments.out}")
    except AopPoseError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"sheet: {arguments.out}" + (" (shows real frames: do not commit)" if real else ""))
    return 0


def _triple(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:8.2f}" for value in values)


def _tile(pixels: np.ndarray, side: int) -> np.ndarray:
    square = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(square, cv2.COLOR_GRAY2BGR)


def _with_landmarks(tile: np.ndarray, phantom: Phantom) -> np.ndarray:
    scale = tile.shape[0] / phantom.frame.height
    outlined = tile.copy()
    for value in (1, 2):
        region = cv2.resize((phantom.mask == value).astype(np.uint8), tile.shape[:2], interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(outlined, contours, -1, (120, 220, 120), 1)
    for (x, y), colour in zip((phantom.keypoints.coords + 0.5) * scale - 0.5, COLOURS, strict=True):
        cv2.circle(outlined, (round(x), round(y)), 3, colour, -1)
    return outlined


if __name__ == "__main__":
    raise SystemExit(main())
