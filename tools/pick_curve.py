"""Which frames to label next: does ``dataset pick`` beat chance? A curve of error over labels.

From ``--start`` labels drawn by chance, ``--add`` more are labelled ``--rounds`` times: those that the network trained
so far picks (arm P, ``aop_pose.review.pick``), or others drawn by chance (arm R). The pool is DATA/labelled.csv alone;
errors are those on DATA/val.csv, on which nothing is chosen: the last epoch is kept. Each training takes as many steps,
whatever its labels. Each finished training is a line of --results (JSON), so that an interrupted curve goes on where it
stopped; --table prints it from what is there, paired by seed.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
from ablation import guarded, measure

from aop_pose.errors import UsageError
from aop_pose.formats.iugc import IUGC
from aop_pose.formats.label import Label
from aop_pose.formats.registry import read_labels
from aop_pose.pipelines import load_weights, pipeline
from aop_pose.pipelines.job import Job
from aop_pose.review.pick import pick

ARMS = ("P", "R")
BATCH = 16
Key = tuple[int, str, int]
"""Seed, arm and number of labels."""


def finished(results: Path) -> dict[Key, dict]:
    """The trainings that have ended; half a last line, as a kill leaves it, is none."""
    done = {}
    for line in results.read_text().splitlines() if results.exists() else []:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        done[said["seed"], said["arm"], said["labels"]] = said
    return done


def pool_of(data: Path, out: Path) -> list[Label]:
    """The frames of labelled.csv, copied into a folder of their own, so that nothing else can be picked."""
    for label in read_labels(data / "labelled.csv", data):
        target = out / "pool" / label.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(label.path, target)
    IUGC.write_table(read_labels(data / "labelled.csv", data), out / "pool" / "labelled.csv")
    return read_labels(out / "pool" / "labelled.csv", out / "pool")


def run_one(key: Key, names: list[str], pool: list[Label], options: argparse.Namespace) -> dict:
    """Train on the named frames and measure on val.csv."""
    seed, arm, count = key
    folder = options.runs / f"{seed}-{arm}-{count}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    IUGC.write_table([label for label in pool if label.name in set(names)], folder / "labels.csv")
    epochs = max(1, round(options.steps / math.ceil(count / BATCH)))
    changes = ["holdout=0", f"batch={BATCH}", f"epochs={epochs}", *options.set]
    unet = pipeline("unet")
    job = Job(
        options.runs / "pool", folder / "points", labels=str(folder / "labels.csv"), init=options.init,
        preset=options.preset, seed=seed, changes=unet.useful("train", changes), say=print,
    )  # fmt: skip
    record = unet.train(job)
    errors = np.array(list(measure(folder / "points", options.data).values()), float)
    return {
        "seed": seed, "arm": arm, "labels": count, "names": names, "epochs": epochs,
        "mre": round(float(errors[:, 0].mean()), 3), "aop": round(float(errors[:, 1].mean()), 3),
        "seconds": round(float(record.get("wall_seconds", 0))),
    }  # fmt: skip


def grown(arm: str, names: list[str], seed: int, pool: list[Label], options: argparse.Namespace) -> list[str]:
    """The names with ``options.add`` more."""
    rest = [label.name for label in pool if label.name not in set(names)]
    if arm == "R":
        draw = np.random.default_rng([seed, len(names)])
        return names + [rest[i] for i in draw.permutation(len(rest))[: options.add]]
    first = "S" if len(names) == options.start else arm
    folder = options.runs / f"{seed}-{first}-{len(names)}"
    found = pick(
        load_weights(str(folder / "points")), options.runs / "pool", options.add, [str(folder / "labels.csv")],
        draws=options.draws,
    )  # fmt: skip
    chosen = [one.name for one in found.picks]
    # Where all that is left is like what is labelled, chance fills up.
    spare = [name for name in rest if name not in set(chosen)]
    more = np.random.default_rng([seed, len(names)]).permutation(len(spare))[: options.add - len(chosen)]
    return names + chosen + [spare[i] for i in more]


def run_all(options: argparse.Namespace) -> None:
    """Seed by seed, so that what is not finished is still paired."""
    pool = pool_of(options.data, options.runs)
    for seed in range(options.seeds):
        order = np.random.default_rng(seed).permutation(len(pool))[: options.start]
        start = [pool[i].name for i in order]
        names = {arm: list(start) for arm in ARMS}
        plan = [(seed, "S", options.start)]
        plan += [(seed, arm, options.start + n * options.add) for n in range(1, options.rounds + 1) for arm in ARMS]
        for key in plan:
            known = finished(options.results).get(key)
            arm = key[1]
            if arm != "S" and known is None:
                names[arm] = grown(arm, names[arm], seed, pool, options)
            elif arm != "S":
                names[arm] = known["names"]
            if known is None:
                said = run_one(key, names.get(arm, start), pool, options)
                with open(options.results, "a") as stream:
                    stream.write(json.dumps(said) + "\n")
                print(f"seed {seed} {arm} {key[2]}: MRE {said['mre']} px of 512, AoP {said['aop']} deg", flush=True)


def table(options: argparse.Namespace) -> str:
    """Markdown: labels, mean error of each arm over the seeds that both have, and each seed's difference."""
    done = finished(options.results)
    lines = [
        "| labels | seeds | AoP, picked | AoP, by chance | each seed's difference | MRE, picked | MRE, by chance |"
    ]
    lines += ["| --- " * 7 + "|"]
    start = [said for (_, arm, _), said in done.items() if arm == "S"]
    if start:
        aop, mre = (np.mean([said[name] for said in start]) for name in ("aop", "mre"))
        lines.append(f"| {start[0]['labels']} | {len(start)} | {aop:.2f}° | the same | | {mre:.1f} px | the same |")
    for count in sorted({key[2] for key in done if key[1] != "S"}):
        seeds = [seed for seed, arm, n in done if arm == "P" and n == count and (seed, "R", n) in done]
        if not seeds:
            continue
        aop, mre = (np.array([[done[s, arm, count][name] for arm in ARMS] for s in seeds]) for name in ("aop", "mre"))
        apart = ", ".join(f"{one:+.2f}" for one in aop[:, 0] - aop[:, 1])
        means = f"{aop[:, 0].mean():.2f}° | {aop[:, 1].mean():.2f}°"
        lines.append(
            f"| {count} | {len(seeds)} | {means} | {apart} | {mre[:, 0].mean():.1f} px | {mre[:, 1].mean():.1f} px |"
        )
    return "\n".join(lines)


def picture(options: argparse.Namespace) -> None:
    """The curve as PNG: a dot a training, a line through the means of each arm over the seeds that have both."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    done = finished(options.results)
    figure, axes = pyplot.subplots(figsize=(6, 3.6), dpi=110)
    for arm, words, colour in (("P", "picked", "#0072b2"), ("R", "by chance", "#d55e00")):
        both = {
            key: said for key, said in done.items()
            if key[1] == "S" or all((key[0], each, key[2]) in done for each in ARMS)
        }  # fmt: skip
        own = {key: said["aop"] for key, said in both.items() if key[1] in ("S", arm)}
        axes.plot([key[2] for key in own], list(own.values()), "o", color=colour, alpha=0.35, markersize=4)
        counts = sorted({key[2] for key in own})
        means = [np.mean([value for key, value in own.items() if key[2] == count]) for count in counts]
        axes.plot(counts, means, "-", color=colour, label=words)
    axes.set(xlabel="labels", ylabel="mean error of AoP, degrees", xticks=counts)
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(options.picture, metadata={"Software": None})


def main(arguments: list[str] | None = None) -> None:
    """Command line: ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with images/, labelled.csv and val.csv")
    parser.add_argument("--runs", type=Path, default=Path("runs/pick_curve"))
    parser.add_argument("--results", type=Path, default=None, help="default: RUNS/results.jsonl")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--start", type=int, default=60)
    parser.add_argument("--add", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600, help="batches of 16 that each training takes")
    parser.add_argument("--draws", type=int, default=8, help="passes after noise that tell doubt")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--init", default="scratch", help="as of aop-pose train")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    parser.add_argument("--picture", type=Path, help="draw the curve of what is there, as PNG")
    options = parser.parse_args(arguments)
    options.results = options.results or options.runs / "results.jsonl"
    if min(options.seeds, options.start, options.add, options.rounds, options.steps) < 1:
        raise UsageError("--seeds, --start, --add, --rounds, --steps: expected numbers from 1 on")
    if not options.table:
        options.runs.mkdir(parents=True, exist_ok=True)
        run_all(options)
    if options.picture:
        picture(options)
    print(table(options))


if __name__ == "__main__":
    sys.exit(guarded("pick_curve", main))
