"""Building blocks of a page: a chart as inline SVG, a table, the document. Colours are classes of ``page.css``."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from importlib.resources import files

import attrs
import numpy as np

from aop_pose.io.csv_text import straight

WIDTH, HEIGHT = 420.0, 290.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 12.0, 42.0


@attrs.frozen
class Axis:
    """A range of values, widened to round ticks."""

    label: str
    low: float
    high: float
    step: float

    @classmethod
    def over(cls, label: str, values: Iterable[float], ticks: int = 6) -> Axis:
        """An axis that holds every finite value of ``values``."""
        known = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(known), max(known)
        if high - low < 1e-9:
            low, high = low - 1, high + 1
        step = _round_step((high - low) / ticks)
        return cls(label, math.floor(low / step) * step, math.ceil(high / step) * step, step)

    @property
    def ticks(self) -> list[float]:
        return [self.low + i * self.step for i in range(round((self.high - self.low) / self.step) + 1)]

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


def _round_step(rough: float) -> float:
    power = 10 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


class Chart:
    """Marks in the units of the axes; ``svg()`` gives the picture."""

    def __init__(self, title: str, x: Axis, y: Axis, height: float = HEIGHT, left: float = LEFT) -> None:
        self.title, self.x, self.y, self.height, self.left = title, x, y, height, left
        self._marks: list[str] = []

    def across(self, value: float) -> float:
        return self.left + self.x.share(value) * (WIDTH - self.left - RIGHT)

    def down(self, value: float) -> float:
        return self.height - BOTTOM - self.y.share(value) * (self.height - TOP - BOTTOM)

    def dots(self, xs: Sequence[float] | np.ndarray, ys: Sequence[float] | np.ndarray, style: str) -> None:
        # One path for all: a hundred bytes a frame would make the page of a large study slow.
        places = (f"M{self.across(x):.1f} {self.down(y):.1f}h0" for x, y in zip(xs, ys, strict=True))
        self._marks.append(f'<path class="{style}" d="{"".join(places)}"/>')

    def curve(self, xs: Sequence[float] | np.ndarray, ys: Sequence[float] | np.ndarray, style: str) -> None:
        """Straight lines from point to point; a value that is not finite leaves a gap."""
        pen, steps = "M", []
        for x, y in zip(xs, ys, strict=True):
            known = math.isfinite(x) and math.isfinite(y)
            if known:
                steps.append(f"{pen}{self.across(x):.1f} {self.down(y):.1f}")
            pen = "L" if known else "M"
        self._marks.append(f'<path class="{style}" d="{"".join(steps)}"/>')

    def area(self, xs: np.ndarray, low: np.ndarray, high: np.ndarray, style: str) -> None:
        """The area between two lines over the same places, cut at the axes."""
        inside = (np.clip(side, self.y.low, self.y.high) for side in (low, high))
        below, above = ([(self.across(x), self.down(y)) for x, y in zip(xs, side, strict=True)] for side in inside)
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (*below, *reversed(above)))
        self._marks.append(f'<polygon class="{style}" points="{places}"/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        ends = self.across(x1), self.down(y1), self.across(x2), self.down(y2)
        x1, y1, x2, y2 = ends
        self._marks.append(f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def band(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        """The rectangle between two corners, cut at the axes."""
        left, right = (self.across(min(max(x, self.x.low), self.x.high)) for x in (x1, x2))
        bottom, top = (self.down(min(max(y, self.y.low), self.y.high)) for y in (y1, y2))
        self._marks.append(
            f'<rect class="{style}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{max(bottom - top, 0):.1f}"/>'
        )

    def words(self, x: float, y: float, text: str, style: str = "", shift: tuple[float, float] = (0, 0)) -> None:
        """Text at a place of the axes, moved by ``shift`` units of the picture."""
        across, down = self.across(x) + shift[0], self.down(y) + shift[1]
        self._marks.append(f'<text class="{style}" x="{across:.1f}" y="{down:.1f}">{escape(text)}</text>')

    def svg(self, y_ticks: bool = True) -> str:
        """The chart; without ``y_ticks`` the vertical axis only orders rows."""
        floor, right = self.height - BOTTOM, WIDTH - RIGHT
        parts = [
            f'<svg viewBox="0 0 {WIDTH:g} {self.height:g}" role="img" aria-label="{escape(self.title)}">',
            f"<title>{escape(self.title)}</title>",
        ]
        for tick in self.x.ticks:
            at = self.across(tick)
            parts.append(f'<line class="grid" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{floor}"/>')
            parts.append(f'<text class="tick mid" x="{at:.1f}" y="{floor + 15}">{_tick(tick)}</text>')
        for tick in self.y.ticks if y_ticks else ():
            at = self.down(tick)
            parts.append(f'<line class="grid" x1="{self.left}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>')
            parts.append(f'<text class="tick end" x="{self.left - 6}" y="{at + 4:.1f}">{_tick(tick)}</text>')
        middle = (self.left + right) / 2
        parts.append(f'<text class="axis mid" x="{middle:.1f}" y="{self.height - 8}">{escape(self.x.label)}</text>')
        if y_ticks:
            half = (TOP + floor) / 2
            parts.append(
                f'<text class="axis mid" transform="translate(12 {half:.1f}) rotate(-90)">{escape(self.y.label)}</text>'
            )
        return "".join([*parts, *self._marks, "</svg>"])


def _tick(value: float) -> str:
    return f"{round(value, 6) + 0:g}".replace("-", "\N{MINUS SIGN}")


def escape(text: str) -> str:
    """Text of others as it may stand in a page: no markup, and nothing that turns the direction of writing."""
    return html.escape(straight(text))


def document(title: str, body: Iterable[str]) -> str:
    """A whole page from parts that are HTML already."""
    style = files("aop_pose.evaluation.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def table(
    title: str,
    heads: Iterable[str],
    rows: Sequence[Sequence[str]],
    style: str = "table",
    note: str = "",
) -> str:
    """A section with a table that scrolls where it is too wide; cells are HTML already, the first of a row heads it.

    ``note``: HTML below the table.
    """
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{text}</td>" for text in row[1:])}</tr>' for row in rows
    )
    below = f'<p class="under">{note}</p>' if note else ""
    # A region that scrolls has to be reached by the keyboard too.
    return (
        f'<section class="{style}"><h2>{escape(title)}</h2><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(title)}"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>{below}'
        "</section>"
    )
