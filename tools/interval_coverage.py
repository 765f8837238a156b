"""How often the 95 % intervals of figures hold the true value, by simulation: the table of docs/intervals.md.

    python tools/interval_coverage.py --simulations 1000        # goes on where it was stopped
    python tools/interval_coverage.py --counted --simulations 5000      # more of what is counted, which is faster
    python tools/interval_coverage.py --table                   # writes both tables into docs/intervals.md
    python tools/interval_coverage.py --shares                  # of shares, without chance: sums over the binomial

True angles are normal, 120 with a standard deviation of 20 degrees, 18 of it between patients. Differences are 1 + 6 z
degrees; with one frame a patient z is drawn alone, with more the patient's plus the frame's, each times sqrt(0.5).
"Unbalanced": 1, 2, 3 or 6 frames a patient in turn, which count as 0.72 times as many patients of one size.
z is normal, t with 4 degrees of freedom, or exponential, scaled to a standard deviation of 1 and a mean of 0.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from itertools import product
from pathlib import Path

import numpy as np

from aop_pose.core.schemas import AOP
from aop_pose.evaluation.errors import Errors
from aop_pose.evaluation.figures import Figure, agreement_of, estimates_of, trends_of
from aop_pose.stats.bootstrap import COVERAGE, Withheld
from aop_pose.stats.intervals import share_interval, value_of

GROUPS = (20, 50, 100, 180)
FRAMES = {"1": (1,), "2": (2,), "unbalanced": (1, 2, 3, 6)}
"""Of the first, second, ... patient, and over again."""
WORDS = {"1": "One frame a patient", "2": "Two frames a patient", "unbalanced": "1, 2, 3 or 6 frames a patient"}
SHAPES = ("normal", "t4", "skewed")
BIAS, SPREAD = 1.0, 6.0
NOTHING = "\N{EN DASH}"
"""An interval that is withheld in nearly all simulations."""
CHUNK = 50
"""Simulations between two writes of a result."""
LARGE = 400_000
"""Groups of the sample whose figures are the true ones, where no formula gives them."""
ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "tools" / "results" / "interval_coverage"
PAGE = ROOT / "docs" / "intervals.md"
SIMULATED = "<!-- table: tools/interval_coverage.py --table -->", "<!-- end of table -->"
SHARES = "<!-- table: tools/interval_coverage.py --shares -->", "<!-- end of table of shares -->"
TRIALS = (12, 20, 39, 40, 50, 57, 70, 100, 180, 400)
AOP_DEG = AOP.quantity("aop_deg")


ROWS = (
    ("mean of errors", "mae_deg"), ("bias", "bias_deg"), ("median", "median_deg"), ("95th percentile", "p95_deg"),
    ("standard deviation", "sd_deg"), ("lower limit of agreement", "loa_low_deg"),
    ("upper limit of agreement", "loa_high_deg"), ("within 5 degrees", "within_5_deg"),
    ("within 10 degrees", "within_10_deg"), ("ICC(2,1)", "icc_2_1"), ("ICC(3,1)", "icc_3_1"),
    ("Pearson's r", "pearson_r"), ("slope of the differences", "slope"),
    *((name.replace("_", " "), f"at_120_{name}") for name in (
        "accuracy", "sensitivity", "specificity", "ppv", "npv", "lr_positive", "lr_negative", "kappa",
    )),
)  # fmt: skip


def deviates(shape: str, size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Of mean 0 and standard deviation 1."""
    if shape == "normal":
        return rng.normal(size=size)
    if shape == "t4":
        return rng.standard_t(4, size=size) / np.sqrt(2)
    return rng.exponential(size=size) - 1


def patients(groups: int, frames: str) -> np.ndarray:
    """The patient of each frame, frames of one patient beside each other."""
    return np.repeat(np.arange(groups), np.resize(FRAMES[frames], groups))


def study(groups: int, frames: str, shape: str, rng: np.random.Generator) -> list[Figure]:
    """Figures of a made-up study of ``patients``."""
    ids = patients(groups, frames)
    n = len(ids)
    true = 120 + rng.normal(0, 18, groups)[ids] + rng.normal(0, np.sqrt(20**2 - 18**2), n)
    if frames == "1":
        z = deviates(shape, (groups,), rng)
    else:
        z = np.sqrt(0.5) * (deviates(shape, (groups,), rng)[ids] + deviates(shape, (n,), rng))
    errors = Errors(
        schema=AOP, measured=np.ones(n, bool), labelled=np.ones((n, 3), bool), distances=np.zeros((n, 3)),
        diagonals=np.ones(n), quantities=(AOP_DEG,), true_values={"aop": true},
        differences={"aop": BIAS + SPREAD * z}, losses={"aop": np.full(n, 180.0)},
    )  # fmt: skip
    names = {f"aop_{name}" for _, name in ROWS}
    return [one for one in (*agreement_of(errors, AOP_DEG), *trends_of(errors)) if one.name in names]


def truth(frames: str, shape: str) -> dict[str, float]:
    """The figures of everybody."""
    found = {one.name: value_of(one.values, one.how) for one in study(LARGE, frames, shape, np.random.default_rng(0))}
    known = {"bias": BIAS, "sd": SPREAD, "loa_low": BIAS - 1.96 * SPREAD, "loa_high": BIAS + 1.96 * SPREAD}
    return found | {AOP_DEG.figure(name): value for name, value in known.items()}


def simulate(
    groups: int, frames: str, shape: str, simulations: int, counted: bool = False, results: Path = RESULTS
) -> None:
    """Add simulations to those of a design until there are so many; each has a seed of its own.

    ``counted``: of shares, and what is made from them, alone.
    """
    file = results / f"{groups}-{frames}-{shape}.json"
    found = json.loads(file.read_text()) if file.is_file() else {"true": truth(frames, shape)}
    counts = found.setdefault("figures", {})
    ids = patients(groups, frames)
    asked = [f"aop_{name}" for _, name in ROWS if not counted or is_counted(name)]
    done = {name: sum(counts.get(name, {}).values()) for name in asked}
    start = min(done.values())
    if start >= simulations:
        return
    for number in range(start, min(start + CHUNK, simulations)):
        rng = np.random.default_rng([groups, list(FRAMES).index(frames) + 1, SHAPES.index(shape), number])
        figures = [one for one in study(groups, frames, shape, rng) if done.get(one.name, simulations) <= number]
        for name, estimate in estimates_of(figures, ids).items():
            one = counts.setdefault(name, {"held": 0, "above": 0, "below": 0, "withheld": 0})
            true = found["true"][name]
            if estimate.interval is None:
                one["withheld"] += 1
            elif true < estimate.interval[0]:
                one["above"] += 1
            elif true > estimate.interval[1]:
                one["below"] += 1
            else:
                one["held"] += 1
    results.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(found, indent=1) + "\n")
    part.replace(file)


def is_counted(name: str) -> bool:
    """A figure of ``ROWS`` whose interval is made from counts (``Counted``)."""
    return name.startswith(("within_", "at_"))


def cell(one: dict[str, int] | None) -> str:
    """The share of stated intervals that held, of the simulations in which one was stated."""
    if one is None:
        return ""
    stated = one["held"] + one["above"] + one["below"]
    every = stated + one["withheld"]
    if stated < every / 10:
        return NOTHING
    share = f"{100 * one['held'] / stated:.1f}"
    return share if stated > 0.99 * every else f"{share} ({100 * one['withheld'] / every:.0f} % withheld)"


def table(results: Path = RESULTS) -> str:
    """One table for each number of frames a patient."""
    parts = []
    for frames in FRAMES:
        found = {
            (groups, shape): json.loads(file.read_text())
            for groups, shape in product(GROUPS, SHAPES)
            if (file := results / f"{groups}-{frames}-{shape}.json").is_file()
        }
        if not found:
            continue
        number, counted = (
            from_to([sum(one["figures"][f"aop_{name}"].values()) for one in found.values()])
            for name in (ROWS[0][1], ROWS[-1][1])
        )
        parts.append(
            f"**{WORDS[frames]}**, {number} simulations of each ({counted} of shares, likelihood ratios "
            "and kappa); normal / t4 / skewed, in %:\n"
        )
        parts.append("| figure | " + " | ".join(f"{groups} patients" for groups in GROUPS) + " |")
        parts.append("| --- |" + " --- |" * len(GROUPS))
        for label, name in ROWS:
            of_figure = {design: one["figures"].get(f"aop_{name}") for design, one in found.items()}
            cells = [" / ".join(cell(of_figure.get((groups, shape))) for shape in SHAPES) for groups in GROUPS]
            parts.append(
                f"| {label} | "
                + " | ".join(NOTHING if set(one) <= set(f"{NOTHING} /") else one for one in cells)
                + " |"
            )
        parts.append("")
    return "\n".join(parts)


def from_to(numbers: list[int]) -> str:
    return str(max(numbers)) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def shares_held(trials: int) -> list[str]:
    """Of a share of so many independent frames, in %: how often its intervals hold, least, most and mean over the
    shares for which at least a quarter of studies have one, and the most studies that state a wrong bound."""
    hits = np.arange(trials + 1)
    shares = np.linspace(0.001, 0.999, 1997)
    ways = np.array([math.lgamma(trials + 1) - math.lgamma(one + 1) - math.lgamma(trials - one + 1) for one in hits])
    chances = np.exp(ways + hits * np.log(shares)[:, None] + (trials - hits) * np.log1p(-shares)[:, None])
    stated, held, wrong = (np.zeros(chances.shape) for _ in range(3))
    for one in hits.tolist():
        alone = (np.arange(trials) < one).astype(float)
        try:
            low, high = share_interval(alone, np.ones(trials), COVERAGE)
        except Withheld as why:
            if why.bound is not None:
                above = why.bound < one / trials
                wrong[:, one] = shares < why.bound if above else shares > why.bound
        else:
            stated[:, one], held[:, one] = 1, (low <= shares) & (shares <= high)
    often = (chances * stated).sum(axis=1)
    words, some = NOTHING, often >= 0.25
    if some.any():
        of_stated = 100 * ((chances * held).sum(axis=1)[some] / often[some])
        words = f"{of_stated.min():.1f} to {of_stated.max():.1f}, mean {of_stated.mean():.1f}"
    return [str(trials), words, f"{100 * (chances * wrong).sum(axis=1).max():.1f}"]


def shares_table() -> str:
    """A row for each number of independent frames."""
    head = ("| independent frames | intervals hold in | bounds are wrong in at most |", "| ---: | --- | ---: |")
    return "\n".join([*head, *(f"| {' | '.join(shares_held(trials))} |" for trials in TRIALS), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000, help="of each design")
    parser.add_argument("--counted", action="store_true", help="shares, likelihood ratios and kappa alone")
    parser.add_argument("--frames", choices=FRAMES, action="append", help="a patient; may be repeated")
    parser.add_argument("--table", action="store_true", help="write the table of what there is, and simulate nothing")
    parser.add_argument("--shares", action="store_true", help="print how often intervals of shares hold")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="one JSON a design")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE", help="where --table writes")
    given = parser.parse_args()
    if given.shares:
        print(shares_table(), end="")
        return
    if given.table:
        page = given.page.read_text(encoding="utf-8")
        for (begin, end), filled in ((SHARES, shares_table()), (SIMULATED, table(given.results))):
            before, _, rest = page.partition(begin)
            page = f"{before}{begin}\n\n{filled}\n{end}{rest.partition(end)[2]}"
        given.page.write_text(page, encoding="utf-8")
        return
    for _ in range(0, given.simulations, CHUNK):
        for frames, groups, shape in product(given.frames or FRAMES, GROUPS, SHAPES):
            simulate(groups, frames, shape, given.simulations, given.counted, given.results)


if __name__ == "__main__":
    main()
