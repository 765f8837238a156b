"""Kill commands at random moments and compare what they leave with an undisturbed run.

Each kill is a SIGKILL of the whole process group after a random part of the time that the undisturbed run takes. The
command is then given again (with ``--resume`` where it takes that) until it ends by itself, and every final file is
held against that of the undisturbed run: tables, label files, pictures and predictions byte by byte, documents without
times, checkpoints tensor by tensor. Nothing else may lie there, hidden files and neighbours of the folder included.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

TIMES = re.compile(rb"seconds|started|wall|_ms\b|peak_memory|minutes|date|save_dir")
"""What of a document, a table or a checkpoint differs from run to run: times, memory, the folder."""
FINISHED = re.compile(rb"finished|new or empty folder|exists")
"""Words of a command that finds its work done."""


@attrs.frozen
class Case:
    """A command that is killed; OUT stands for what it writes."""

    name: str
    words: tuple[str, ...]
    resume: bool = False
    """It goes on with ``--resume``; without it the same command again does."""
    out: str = "out"


CASES = (
    Case("predict", ("predict", "frames/images", "--out", "OUT", "--no-gate")),
    Case("convert", ("dataset", "convert", "frames", "OUT", "--to", "yolo-pose")),
    Case(
        "pseudo-label",
        ("pseudo-label", "--weights", "aop-fast", "--images", "frames/images", "--out", "OUT"),
        out="pseudo.csv",
    ),
    *(
        Case(
            f"train-{method}",
            ("train", "--method", method, "--data", data, "--init", "scratch", *settings, "--out", "OUT"),
            resume=True,
        )
        for method, data, settings in (
            ("unet", "frames", ("--set", "image_size=64", "--set", "widths=[8,16,16]", "--set", "epochs=2")),
            ("hrnet-gan", "frames", ("--set", "image_size=64", "--set", "epochs=2")),
            ("fetusmap", "fetuses", ("--set", "size=[16,16,16]", "--set", "epochs=2")),
            ("yolo", "frames", ("--set", "image_size=64", "--set", "epochs=2")),
        )
    ),
)


@attrs.define
class Tally:
    """How a case went."""

    kills: int = 0
    runs: int = 0
    """Straight ends that were compared."""
    differing: list[str] = attrs.field(factory=list)


def inputs(folder: Path, frames: int) -> None:
    """The made-up frames and volumes that the commands read."""
    for name, words in (
        ("frames", ("--count", str(frames), "--seed", "1", "--size", "128")),
        ("fetuses", ("--schema", "fetus", "--count", "4", "--seed", "1", "--size", "32")),
    ):
        if not (folder / name).exists():
            run(folder, ("dataset", "phantom", name, *words), None)


def run(folder: Path, words: Sequence[str], seconds: float | None) -> int | None:
    """The exit code of a command; None where it was killed after so many seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aop_pose", *words], cwd=folder, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        _, told = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None
    # A kill may come when all is written and the process is on its way out: then the same command finds a finished run.
    if process.returncode and not (process.returncode == 2 and FINISHED.search(told)):
        raise SystemExit(f"{' '.join(words)}: exit {process.returncode}\n{told.decode()}")
    return process.returncode


def again(case: Case, out: Path, begun: Path) -> tuple[str, ...]:
    """The command as a person gives it after a kill."""
    words = tuple(begun.name if word == "OUT" else word for word in case.words)
    return (*words, "--resume") if case.resume and (out / "run.json").exists() else words


def differences(case: Case, straight: Path, killed: Path) -> Iterable[str]:
    """One line for each final file that is not the same, or that should not be there."""
    if straight.is_file():
        pairs = {path.name: path for path in straight.parent.glob(f"{straight.stem}*")}
        others = {path.name: path for path in killed.parent.glob(f"{killed.stem}*")}
    else:
        pairs = {str(path.relative_to(straight)): path for path in straight.rglob("*") if path.is_file()}
        others = {str(path.relative_to(killed)): path for path in killed.rglob("*") if path.is_file()}
    for name in sorted(pairs.keys() ^ others.keys()):
        yield f"{name}: only in the {'undisturbed' if name in pairs else 'killed'} run"
    for name in sorted(pairs.keys() & others.keys()):
        if not same(pairs[name], others[name]):
            yield f"{name}: other content"
    for path in killed.parent.iterdir():
        if path.name.startswith("."):
            yield f"{path.name}: left behind"


def same(one: Path, other: Path) -> bool:
    """True where two files say the same but for times."""
    if one.suffix == ".pt":
        return _tensors(one) == _tensors(other)
    if one.suffix == ".png":
        return one.stat().st_size > 0 and (one.name == "curves.png" or one.read_bytes() == other.read_bytes())
    if one.suffix in (".json", ".csv", ".yaml"):
        return _told(one) == _told(other)
    return one.read_bytes() == other.read_bytes()


def _told(path: Path) -> object:
    if path.suffix == ".json":
        return _without_times(json.loads(path.read_text()))
    lines = path.read_bytes().splitlines()
    if not lines or not TIMES.search(lines[0]):
        return lines
    kept = [i for i, column in enumerate(lines[0].split(b",")) if not TIMES.search(column)]
    return [[line.split(b",")[i] for i in kept] for line in lines]


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_times(one) for key, one in value.items() if not TIMES.search(key.encode())}
    return [_without_times(one) for one in value] if isinstance(value, list) else value


def _tensors(path: Path) -> object:
    import torch

    from aop_pose.pipelines.isolation import isolate

    # A checkpoint of Ultralytics imports it.
    isolate()
    content = torch.load(path, map_location="cpu", weights_only=False)
    return _hashed(content)


def _hashed(value: object) -> object:
    import torch

    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), hash(value.float().numpy().tobytes())
    if isinstance(value, torch.nn.Module):
        return _hashed(value.state_dict())
    if isinstance(value, dict):
        return {str(key): _hashed(one) for key, one in value.items() if not TIMES.search(str(key).encode())}
    if isinstance(value, (list, tuple)):
        return [_hashed(one) for one in value]
    return value if isinstance(value, (int, float, str, bool, type(None))) else type(value).__name__


def killed_often(case: Case, folder: Path, kills: int, draw: random.Random) -> Tally:
    """Kill a case so often, each time at another moment, and compare each time that it comes to its end."""
    tally = Tally()
    straight, out = folder / case.name / "straight" / case.out, folder / case.name / "killed" / case.out
    for place in (straight, out):
        shutil.rmtree(place.parent, ignore_errors=True)
        place.parent.mkdir(parents=True)
        for name in ("frames", "fetuses"):
            (place.parent / name).symlink_to(folder / name)
    begin = time.monotonic()
    run(straight.parent, again(case, straight, straight), None)
    seconds = time.monotonic() - begin
    while tally.kills < kills:
        ended = run(out.parent, again(case, out, out), draw.uniform(0.0, 1.0) * seconds)
        tally.kills += ended is None
        if ended is not None or tally.kills == kills:
            if ended is None:
                run(out.parent, again(case, out, out), None)
            tally.runs += 1
            tally.differing += differences(case, straight, out)
            for path in out.parent.iterdir():
                if not path.is_symlink():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return tally


def main() -> int:
    """Run the cases and print a table; exit code 1 where a file differed."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="Example: python tools/kills.py --cases predict --kills 50"
    )
    parser.add_argument("--cases", default=",".join(case.name for case in CASES), help="which, by name")
    parser.add_argument("--kills", type=int, default=10, help="of each case")
    parser.add_argument("--frames", type=int, default=60, help="that are measured, converted, learned from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/kills"), help="where everything is written")
    given = parser.parse_args()
    known = {case.name: case for case in CASES}
    if wrong := [name for name in given.cases.split(",") if name not in known]:
        parser.error(f"--cases: expected {', '.join(known)}, found {wrong[0]}")
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    inputs(folder, given.frames)
    bad = 0
    print("| command | kills | ends compared | files that differ |\n| --- | ---: | ---: | ---: |", flush=True)
    for name in given.cases.split(","):
        tally = killed_often(known[name], folder, given.kills, random.Random(f"{given.seed} {name}"))
        print(f"| {name} | {tally.kills} | {tally.runs} | {len(tally.differing)} |", flush=True)
        for line in tally.differing[:10]:
            print(f"  {line}", file=sys.stderr)
        bad += len(tally.differing)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
