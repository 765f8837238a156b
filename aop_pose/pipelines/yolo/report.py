"""``report.html`` of a run of several stages: what each did, what was left out, and what came of it."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aop_pose import __version__
from aop_pose.evaluation.report.html import Axis, Chart, document, escape, table
from aop_pose.io.files import replacing
from aop_pose.pipelines.run import METRICS, RECORD, STAGES_FOLDER, read_record
from aop_pose.pseudo.run import document_of

BINS = 20
_NAMES = {"val/mre_px": ("MRE, px", "Mean radial error"), "val/box_iou": ("mean IoU", "Mean IoU of the boxes")}
_FEW = 30


def curves(rows: Sequence[Mapping[str, str]], record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """SVG and caption of the loss over epochs, and of what chose the epoch where something did."""
    epochs = [float(row["epoch"]) for row in rows]
    loss = [sum(float(value) for name, value in row.items() if name.startswith("train/")) for row in rows]
    drawn = [(_curve("loss", epochs, loss, None), "Training loss, sum of its terms.")]
    deciding = next(name for name in _NAMES if name in rows[0])
    checked = [float(row[deciding]) for row in rows]
    if any(math.isfinite(value) for value in checked):
        short, name = _NAMES[deciding]
        words = f"{name} on the checking frames; dashed: the kept epoch."
        drawn.append((_curve(short, epochs, checked, record["best"]["epoch"]), words))
    return drawn


def _curve(name: str, epochs: Sequence[float], values: Sequence[float], kept: float | None) -> str:
    known = [value for value in values if math.isfinite(value)]
    x = Axis.over("epoch", [0, *epochs], ticks=min(6, len(epochs)))
    chart = Chart(f"{name} over epochs", x, Axis.over(name, [0, *(known if any(known) else [1])]))
    if kept is not None:
        chart.line(kept, chart.y.low, kept, chart.y.high, "dashed")
    chart.curve(epochs, values, "curve")
    if len(epochs) <= _FEW:
        shown = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if math.isfinite(value)]
        chart.dots([epoch for epoch, _ in shown], [value for _, value in shown], "dots")
    return chart.svg()


def histogram(rows: Sequence[Mapping[str, str]], confidence: str) -> str:
    """Weights of the frames of a table of pseudo-labels, those that were dropped on top of those that were kept."""
    edges = np.linspace(0, 1, BINS + 1)
    weights = {
        keep: np.histogram([float(row["weight"]) for row in rows if row["weight"] and row["keep"] == keep], edges)[0]
        for keep in ("1", "0")
    }
    kept, whole = weights["1"], weights["1"] + weights["0"]
    chart = Chart(
        "Weights of the pseudo-labels", Axis("weight (confidence: " + confidence + ")", 0, 1, 0.2),
        Axis.over("frames", [0, int(whole.max())]),
    )  # fmt: skip
    gap = 0.08 / BINS
    for low, high, below, top in zip(edges[:-1] + gap, edges[1:] - gap, kept, whole, strict=True):
        chart.band(low, 0, high, below, "bar")
        chart.band(low, below, high, top, "bar dropped")
    return chart.svg()


def without_numbers(reason: str) -> str:
    """A reason as a class of reasons: what it says of one frame alone, in brackets or in numbers, is left out."""
    return re.sub(r"\d+(\.\d+)?", "…", re.sub(r" \([^)]*\)", "", reason))


REPORT = "report.html"
NOTICE = "Not a medical device; research use only."
NOTHING = "\N{EN DASH}"
_MOST_LEFT_OUT = 12


def write_page(run: Path) -> Path:
    """Write the page of a run folder whose stages are finished, from its files alone; returns its path."""
    with replacing(run / REPORT) as part:
        part.write_text(page(run), encoding="utf-8")
    return run / REPORT


def page(run: Path) -> str:
    """The page as HTML that needs no other file."""
    record = read_record(run)
    stages = sorted(
        (path for path in (run / STAGES_FOLDER).iterdir() if path.suffix == ".csv" or (path / RECORD).is_file()),
        key=_number,
    )
    stages = [stage for stage in stages if stage.is_dir() or document_of(stage)]
    body = [
        _head(run, record),
        _tiles(record, stages),
        _errors(record),
        _overview(record, stages),
        *(_stage(stage) for stage in stages),
        _how(record),
        f"<footer><b>{NOTICE}</b> Made by aop-pose {__version__} train.</footer>",
    ]
    return document(f"Training report: {run.name}", body)


def _number(stage: Path) -> int:
    # Files beside the stages have no number and no document.
    head = stage.name.partition("-")[0]
    return int(head) if head.isdecimal() else 0


def _head(run: Path, record: Mapping[str, Any]) -> str:
    data = record["data"]
    how = f"recipe <b>{escape(data['recipe'])}</b>" if "recipe" in data else "rounds of weighted training"
    return (
        f"<header><h1>Training report</h1><p><b>{escape(run.name)}</b>, {how}: {data['frames']} labelled frames, "
        f"{data['unlabelled_frames']} without labels, {data['checked_frames']} to compare epochs and stages "
        f'({escape(data["chosen_by"])}).</p><p class="notice">{NOTICE}</p></header>'
    )


def _tiles(record: Mapping[str, Any], stages: Sequence[Path]) -> str:
    best = record["best"]
    tables = [document_of(stage) for stage in stages if not stage.is_dir()]
    tiles = [
        ("Kept stage", escape(record["chosen"]["stage"])),
        ("Mean radial error", _pixels(best["val/mre_px"])),
        ("AoP mean absolute error", _degrees(best["val/aop_mae_deg"])),
        ("Frames without a detection", _count(best["val/missing"])),
    ]
    if tables:
        tiles.append(("Pseudo-labels kept, last round", f"{tables[-1]['kept']} of {tables[-1]['rows']}"))
    tiles.append(("Wall time", duration(record["wall_seconds"])))
    cells = "".join(f'<div class="tile"><span>{name}</span><strong>{value}</strong></div>' for name, value in tiles)
    return f'<section class="tiles">{cells}</section>'


def _errors(record: Mapping[str, Any]) -> str:
    rows = []
    for candidate in record["candidates"]:
        kept = " <b>(kept)</b>" if candidate["stage"] == record["chosen"]["stage"] else ""
        errors = [_pixels(candidate["val/mre_px"]), _degrees(candidate["val/aop_mae_deg"])]
        errors += [_count(candidate["val/missing"]), _count(candidate["epoch"])]
        rows.append([f"{escape(candidate['stage'])}{kept}", *errors])
    words = [f"Kept: {record['chosen']['why']}."]
    if record["data"]["checked_frames"]:
        words += [
            "MRE mean radial error, in pixels of the original frames; AoP mean absolute error; missing: frames without "
            "a detection, each counted as an error of its diagonal and of 180°; epoch: the kept one.",
            "The same frames chose epochs and stage, so these figures flatter: measure others on frames of their own.",
        ]
    drawn = table("Errors on the checking frames", ["", "MRE", "AoP", "missing", "epoch"], rows)
    return f"{drawn}<p>{_small(' '.join(words))}</p>"


def _overview(record: Mapping[str, Any], stages: Sequence[Path]) -> str:
    rows = []
    for stage in stages:
        told = record["stages"][stage.name]
        rows.append([escape(stage.name), duration(told["seconds"]), escape(told["from"]), _small(_what(stage))])
    return table("What each stage did", ["", "wall time", "from", "what"], rows)


def _what(stage: Path) -> str:
    """The outcome of a stage, and on how many frames."""
    if not stage.is_dir():
        told = document_of(stage)
        return f"pseudo-labels of {told['rows']} frames, confidence: {told['confidence']}"
    record = read_record(stage)
    if record.get("stage") == "pretrain":
        return f"strokes and boxes of {record['data']['frames']} frames, detection training"
    data = record["data"]
    pseudo = f" and {data['pseudo']['frames']} pseudo-labelled" if "pseudo" in data else ""
    return f"{'weighted' if pseudo else 'pose'} training on {data['frames']} labelled{pseudo} frames"


def _stage(stage: Path) -> str:
    if not stage.is_dir():
        return _pseudo(stage)
    record = read_record(stage)
    words = _boxes(stage, record) if record.get("stage") == "pretrain" else ""
    drawn = "".join(_figure(*plot) for plot in curves(_rows(stage / METRICS), record))
    return f'<section><h2>{_title(stage)}</h2>{words}<div class="plots">{drawn}</div></section>'


def _title(stage: Path) -> str:
    return f"{escape(stage.name)}: {escape(_what(stage))}"


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _boxes(stage: Path, record: Mapping[str, Any]) -> str:
    left_out, boxes = _rows(stage / "boxes" / "left_out.csv"), record["boxes"]
    count = boxes["train"] + boxes["val"]
    words = (
        f"<p>{escape(record['segmenter'])}. Boxes of symphysis and head on {count} of {count + len(left_out)} frames "
        f"({boxes['val']} of them choose the detector's epoch); {len(left_out)} left out. Best mean IoU of the "
        f"detector with these boxes: {_ratio(record['best']['val/box_iou'])}.</p>"
    )
    if not left_out:
        return words
    rows = [[escape(row["Filename"]), _small(row["reason"])] for row in left_out[:_MOST_LEFT_OUT]]
    more = len(left_out) - len(rows)
    note = f"<p>… and {more} more in left_out.csv of the stage's boxes.</p>" if more else ""
    return words + table("Frames left out", ["", "why"], rows) + note


def _pseudo(stage: Path) -> str:
    told, rows = document_of(stage), _rows(stage)
    counts = Counter(without_numbers(row["reason"]) for row in rows if row["keep"] != "1")
    cells = [["kept", str(told["kept"])]]
    cells += [[f"dropped: {_small(why)}", str(count)] for why, count in counts.most_common()]
    words = (
        f"<p>By {escape(told['model'])}: one clean pass and {told['draws']} after noise; every frame has a row with "
        f"its reason in {escape(stage.name)}.</p>"
    )
    caption = "Blue: kept; red on top: dropped. A frame without a prediction has no weight and is not drawn."
    drawn = _figure(histogram(rows, told["confidence"]), caption)
    return (
        f"<section><h2>{_title(stage)}</h2>{words}"
        f'<div class="plots">{table("Kept and dropped", ["", "frames"], cells)}{drawn}</div></section>'
    )


def _how(record: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    facts = [
        f"Command: {record['command']}", f"Begun {record['started']}; seed {record['seed']}; {record['machine']}.",
        f"Commit {record['git_commit'] or 'unknown (installed)'}. {versions}.",
        "Wall time counts interrupted processes up to their last finished epoch.",
        f"Settings: {json.dumps(record['config'])}",
    ]  # fmt: skip
    return f"<aside>{''.join(f'<p>{escape(fact)}</p>' for fact in facts)}</aside>"


def _small(text: str) -> str:
    """Words that may take several lines within a table."""
    return f'<small style="white-space:normal">{escape(text)}</small>'


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def duration(seconds: float) -> str:
    """Hours and minutes, or seconds below two minutes."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _count(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.0f}"


def _pixels(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f} px"


def _degrees(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}°"


def _ratio(value: float | None) -> str:
    return "not checked" if value is None else f"{value:.2f}"
