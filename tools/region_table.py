"""The finder of the ultrasound region on made-up screens whose boxes are known: a row a look and layout, as Markdown.

Frames are phantoms, whose fan is exact, and with --data frames of PSFHS of two layouts, whose fan is the box that the
frames of the layout fill; frames whose ultrasound does not reach both sides of it are left out: they may be narrower.
On white or gray paper the box is that of the frame. Several pictures count as found where as many regions are.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from aop_pose.core.region import Region
from aop_pose.draw.frame import contact_sheet, write_overlay
from aop_pose.errors import AopPoseError
from aop_pose.formats.csv_rows import read_list
from aop_pose.formats.label import find_picture
from aop_pose.formats.pictures import read_gray
from aop_pose.inference.region import find_region
from aop_pose.phantom import screen
from aop_pose.phantom.devices import DEVICES
from aop_pose.phantom.frame import make_phantom

LONGEST = (300, 4000)
"""Pixels of the longer side between which screens are resized, evenly in the logarithm."""
FAN_WITH_BAR, FAN_WITHOUT = Region(0, 1, 253, 232), Region(16, 3, 235, 237)
"""The fan of the two layouts of PSFHS, known by the gray bar at the left: where their frames are bright."""
DARK, LEAST_ROWS, NEAR = 8, 6, 6
"""Gray values above which a pixel shows something; so many of a column do where the fan is seen; pixels."""
SHOWN = 0.97
"""IoU of a fan with what is bright of it, from which on its edges show."""
SEEN = ("desktop",)
"""Kept from networks and gates, but the finder was mended on it."""
Known = tuple[np.ndarray, Region]


def phantom(seed: int, index: int, size: int = 256) -> Known:
    """A phantom and the box of its fan."""
    rng = np.random.default_rng([seed, index])
    device = str(rng.choice(list(DEVICES)))
    rng.uniform(60, 180)
    fan = DEVICES[device].fan(rng)
    x, y = np.meshgrid(*2 * [(np.arange(size) + 0.5) * fan.width_mm / size])
    rows, columns = np.nonzero(fan.contains(x, y))
    left, top = int(columns.min()), int(rows.min())
    box = Region(left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top)
    return make_phantom(seed, index, size=size).frame.pixels, box


def real(data: Path, names: Sequence[str]) -> list[Known]:
    """Frames of PSFHS with the fan of their layout, of which both sides are seen."""
    pixels = [read_gray(find_picture(data, name)) for name in names]
    known = [(one, FAN_WITH_BAR if one[4:60, 4:9].mean() > 60 else FAN_WITHOUT) for one in pixels]
    return [(one, fan) for one, fan in known if _reaches(one, fan)]


def _reaches(pixels: np.ndarray, fan: Region) -> bool:
    """True where a frame is bright at both sides of a fan."""
    (left, right), _ = _bright(pixels[fan.y + 20 : fan.y + fan.height])
    return max(abs(left - fan.x), abs(right - (fan.x + fan.width))) <= NEAR


def _bright(pixels: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where columns and rows that show something begin and have ended; 0, 0 where there are none."""
    bright = cv2.medianBlur(np.ascontiguousarray(pixels), 5) > DARK
    there = [np.flatnonzero(bright.sum(axis=axis) >= LEAST_ROWS) for axis in (0, 1)]
    columns, rows = ((int(one[0]), int(one[-1]) + 1) if len(one) else (0, 0) for one in there)
    return columns, rows


def edges_show(known: Known) -> bool:
    """True where a fan is bright to nearly all sides of its box: there its edges can be seen."""
    pixels, fan = known
    (left, right), (top, bottom) = _bright(fan.cut(pixels))
    return (right - left) * (bottom - top) >= SHOWN * fan.width * fan.height


def overlap(one: Region, other: Region) -> float:
    """Area of both over area of either."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    both = max(width, 0) * max(height, 0)
    return both / (one.width * one.height + other.width * other.height - both)


def of_screen(known: Known, layout: str, look: str, rng: np.random.Generator) -> tuple[float, float]:
    """IoU and milliseconds on one screen of any size; with several pictures 1 where all are found, else 0."""
    size = (1080, 1920) if look == "phone" else None
    made = screen.make_screen(*known, rng, layout, look, size)
    scale = float(np.exp(rng.uniform(*np.log(LONGEST)))) / max(made.pixels.shape)
    pixels = cv2.resize(
        made.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    started = time.perf_counter()
    found = find_region(pixels).regions
    taken = 1000 * (time.perf_counter() - started)
    if len(made.regions) > 1 and layout in screen.SEVERAL:
        return float(len(found) == len(made.regions)), taken
    if len(found) != 1:
        return 0.0, taken
    x, y, width, height = np.round(np.array(made.regions[0].box) * scale).astype(int).tolist()
    return overlap(found[0], Region(x, y, max(width, 1), max(height, 1))), taken


def table(frames: Sequence[Known], seed: int, count: int) -> str:
    """A row a look and layout, ``count`` screens each."""
    lines = [
        "| layout | look | IoU >= 0.95 | >= 0.90 | 5th percentile | ms, median |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    kinds = [("one", look) for look in screen.LOOKS] + [(layout, "cart") for layout in screen.LAYOUTS[1:]]
    shown = [edges_show(frame) for frame in frames]
    for kept in (False, True):
        every, edges = [], []
        for layout, look in kinds:
            if (layout in screen.KEPT_LAYOUTS or (look in screen.KEPT_LOOKS and look not in SEEN)) != kept:
                continue
            rng = np.random.default_rng([seed, kinds.index((layout, look))])
            seen, which = [], []
            for _ in range(count):
                which.append(int(rng.integers(len(frames))))
                seen.append(of_screen(frames[which[-1]], layout, look, rng))
            shares, taken = np.array(seen).T
            every += shares.tolist()
            # Of several pictures the number is judged, and a photograph is as far as it goes.
            apart = layout in (*screen.SEVERAL, "photo")
            edges += [None if apart else shown[index] for index in which]
            lines.append(_row(layout, look, shares, f"{np.median(taken):.1f}"))
        lines.append(_row("**kept for testing**" if kept else "**all of these**", "", np.array(every), ""))
        for show, said in ((True, "where all edges of the fan show"), (False, "elsewhere")):
            shares = np.array([share for share, edge in zip(every, edges, strict=True) if edge is show])
            if len(shares):
                lines.append(_row(f"one picture, {said} ({len(shares)})", "", shares, ""))
    return "\n".join(lines)


def _row(layout: str, look: str, shares: np.ndarray, taken: str) -> str:
    return (
        f"| {layout} | {look} | {np.mean(shares >= 0.95):.0%} | {np.mean(shares >= 0.9):.0%} | "
        f"{np.percentile(shares, 5):.2f} | {taken} |"
    )


YELLOW = (90, 225, 255)


def named(picture: np.ndarray, name: str) -> np.ndarray:
    """A BGR picture below a dark strip with its name: on a screen white paper and other writing would hide it."""
    picture = cv2.copyMakeBorder(picture, 60, 0, 0, 0, cv2.BORDER_CONSTANT, value=(24, 24, 24))
    cv2.putText(picture, name, (10, 42), cv2.FONT_HERSHEY_SIMPLEX, 1.2, YELLOW, 2, cv2.LINE_AA)
    return picture


def sheet(seed: int) -> np.ndarray:
    """A phantom on a screen of each look and layout, BGR: the known box is gray, the one that is found yellow."""
    pictures = []
    kinds = [("one", look) for look in screen.LOOKS] + [(layout, "cart") for layout in screen.LAYOUTS[1:]]
    for number, (layout, look) in enumerate(kinds):
        size = (540, 960) if look == "phone" else (960, 720)
        rng = np.random.default_rng([seed, number])
        made = screen.make_screen(*phantom(seed, number), rng, layout, look, size)
        picture = cv2.cvtColor(made.pixels, cv2.COLOR_GRAY2BGR)
        found = find_region(made.pixels).regions
        for boxes, colour in ((made.regions, (150, 150, 150)), (found, YELLOW)):
            for box in boxes:
                cv2.rectangle(picture, (box.x, box.y), (box.x + box.width - 1, box.y + box.height - 1), colour, 4)
        pictures.append(named(picture, f"{layout}, {look}"))
    return contact_sheet(pictures, tile=260)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Example: python tools/region_table.py --data psfhs --list val.txt --count 40"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="frames of PSFHS beside the phantoms")
    parser.add_argument("--list", default="unlabelled.txt", metavar="FILE", help="their names, below DIR")
    parser.add_argument("--phantoms", type=int, default=40, metavar="N")
    parser.add_argument("--count", type=int, default=40, metavar="N", help="screens of each look and layout")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw one screen of each, and measure nothing")
    given = parser.parse_args()
    if given.picture is not None:
        write_overlay(given.picture, sheet(given.seed))
        return 0
    try:
        frames = [phantom(given.seed, index) for index in range(given.phantoms)]
        if given.data is not None:
            names = read_list(given.data / given.list)
            frames += real(given.data, names[:: max(1, len(names) // max(1, given.phantoms))])
    except AopPoseError as error:
        print(f"region_table: error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(frames, given.seed, given.count))
    return 0


if __name__ == "__main__":
    sys.exit(main())
