"""``aop-pose scribbles``, ``pseudo-label`` and ``review``: labels from strokes, from a network, from a reader."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aop_pose.cli.common import CONFIDENCES, DEVICES, NETWORKS
from aop_pose.cli.terminal import speech
from aop_pose.errors import RESEARCH_USE, counted


def scribbles(
    data: Path = typer.Argument(help="Folder of the pictures: DATA/Filename, else DATA/images/Filename."),
    out: Path = typer.Option(..., "--out", help="Folder for the pictures and tables."),
    labels: str = typer.Option(
        "labels.csv", "--labels", help="Label file Filename,PS1,PS2,FH1[,AoP], as given, else below DATA."
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace what an earlier run left in --out."),
) -> None:
    """Draw the strokes that PS1, PS2 and FH1 give for the symphysis (PS) and the head (FH).

    Writes pictures/, strokes.csv (the ends of every stroke in pixels) and left_out.csv (frames without strokes, and
    why). Blue and yellow strokes lie inside PS and FH, orange and pink ones outside.

    Example: aop-pose scribbles data/ --labels labelled.csv --out strokes/
    """
    from aop_pose.errors import UsageError
    from aop_pose.formats.label import resolve
    from aop_pose.formats.registry import sorted_labels
    from aop_pose.io.folders import appearing
    from aop_pose.scribbles.sheet import WRITTEN, write_strokes

    file = resolve(labels, data, own=True)
    frames, left_out = sorted_labels(file, data)
    if not frames and not left_out:
        raise UsageError(f"{file}: expected at least one labelled frame, found none")
    with appearing(out, overwrite, data, WRITTEN) as folder:
        sheet = write_strokes(frames, folder, left_out)
    for left in sheet.left_out:
        speech.note(f"left out {left.name}: {left.reason}")
    count = len(frames) + len(left_out)
    speech.say(f"{sheet.drawn} of {count} frames drawn, {len(sheet.left_out)} left out: {out}. {RESEARCH_USE}")
    if sheet.unreadable:
        raise typer.Exit(3)


def pseudo_label(
    images: Annotated[Path, typer.Option("--images", help="Folder of the frames, or one with images/ in it.")],
    out: Annotated[Path, typer.Option("--out", help="The .csv file to write; appears when complete.")],
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights",
            help="The teacher: artefact, its name, run folder or checkpoint. Several label together: their points are "
            "the robust mean of all passes, and each point weighs by how near these lie together.",
            autocompletion=NETWORKS,
        ),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(
            "--views",
            min=1,
            max=7,
            help="Passes of each network, turned and scaled: so, too, one network labels as "
            "several do. [default: 7 with several --weights]",
        ),
    ] = None,
    listed: Annotated[
        str | None, typer.Option("--list", help="One file name a line, as given or below --images. Default: all.")
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--labels", help="Label file whose frames get no pseudo-label; may be repeated."),
    ] = None,
    val: Annotated[
        list[str] | None, typer.Option("--val", help="Validation file whose frames get none; may be repeated.")
    ] = None,
    confidence: Annotated[
        str,
        typer.Option(
            "--confidence",
            help="Makes the weight of one network's labels: steady (ranks errors best), noise, entropy, "
            "score-entropy, detection, paper (equation 14 on raw coordinates), paper-centred or paper-scores.",
            autocompletion=CONFIDENCES,
        ),
    ] = "steady",
    keep_above: Annotated[
        float | None, typer.Option("--keep-above", min=0, max=1, help="Drop frames of a lower weight.")
    ] = None,
    keep_quantile: Annotated[
        float | None, typer.Option("--keep-quantile", min=0, max=1, help="Drop this share of lowest weights.")
    ] = None,
    uniform: Annotated[
        bool, typer.Option("--uniform", help="Every kept frame weighs 1: the confidence only ranks and drops.")
    ] = False,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score", min=0, max=1, help="Drop frames of a lower detection confidence; else the network's."
        ),
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=1, max=1000, help="Passes after noise, per frame.")] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Every draw follows from it and the file's name.")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:1.", autocompletion=DEVICES)] = "cpu",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out.")] = False,
) -> None:
    """Let a network label frames, each with how far to trust it.

    Writes Filename,PS1,PS2,FH1,AoP,keep,reason,det_conf,entropy,cosine,weight; every frame has a row. Several
    networks or --views add weight_PS1,weight_PS2,weight_FH1 and spread_PS1,spread_PS2,spread_FH1 (pixels). Rows with
    keep 0 are left out where the file is read as labels (dataset check, dataset convert, training). A list that
    names a frame of --labels or --val is an error; in a whole folder such frames are left out. Running the same
    command again after an interruption goes on where it stopped. Exit code 0: every frame read; 3: some file was
    unreadable; 1: no frame was kept.

    Example: aop-pose pseudo-label --weights aop-fast --images psfhs --list unlabelled.txt --out pseudo.csv
    """
    from aop_pose.cli.terminal.progress import FrameProgress
    from aop_pose.errors import UsageError
    from aop_pose.inference.engine import cuda_numbers
    from aop_pose.measuring.summary import run_facts
    from aop_pose.pipelines import load_weights
    from aop_pose.pseudo.ensemble import teachers
    from aop_pose.pseudo.label import Rule
    from aop_pose.pseudo.run import Cut, unlabelled_frames
    from aop_pose.pseudo.run import pseudo_label as run
    from aop_pose.pseudo.signals import CONFIDENCES, DEFAULT

    if confidence not in CONFIDENCES:
        raise UsageError(f"--confidence: expected one of {', '.join(CONFIDENCES)}, found {confidence!r}")
    if len(cuda_numbers(device) or ()) != (device != "cpu"):
        raise UsageError(f"--device: expected cpu or cuda, found {device!r}")
    given: list[str | None] = [*weights] if weights else [None]
    if confidence != DEFAULT and (len(given) > 1 or views is not None):
        raise UsageError("--confidence: several networks or --views weigh points by their passes; leave one out")
    rule = Rule(confidence, draws, seed, min_score)
    cut = Cut(keep_above, keep_quantile, uniform)
    frames = unlabelled_frames(images, listed, [*(labels or []), *(val or [])])
    # Frames are at work side by side, each in one thread: faster than one frame in all of them.
    networks = [load_weights(one, "aop", device, threads=1) for one in given]
    shas = [network.sha256 or None for network in networks]
    sha = {"artefact_sha256": shas} if len(shas) > 1 else {}
    facts = {
        **run_facts(networks[0], device),
        **sha,
        "images": str(images),
        "list": listed,
        "labels": labels,
        "val": val,
    }
    with FrameProgress("labelling") as progress:
        summary = run(
            teachers(networks, views), frames, out, rule=rule, cut=cut, overwrite=overwrite, facts=facts,
            on_start=progress.start, on_row=progress.row,
        )  # fmt: skip
    dropped = ", ".join(f"{count} by {why}" for why, count in summary.reasons.items()) or "none"
    weight = f", mean weight {summary.mean_weight:.2f}" if summary.kept else ""
    passed = f"; {frames.labelled} labelled and {counted(frames.ignored, 'other files')} passed over"
    speech.say(
        f"{out}: {summary.kept} of {summary.rows} frames kept{weight} (dropped: {dropped})"
        f"{passed if frames.labelled or frames.ignored else ''}. {RESEARCH_USE}"
    )
    if summary.unreadable:
        raise typer.Exit(3)


def review(
    results: Annotated[Path, typer.Argument(help="Folder of a run of predict.")],
    frames: Annotated[
        Path | None, typer.Option("--frames", help="What was measured. [default: where the run found it]")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Label file or results: frames that disagree with it come first.")
    ] = None,
    reader: Annotated[
        str | None, typer.Option("--reader", help="Name of the reader. [default: the login name]")
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            help="The network of the run, for second looks. [default: the shipped one]",
            autocompletion=NETWORKS,
        ),
    ] = "",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 = any that is free.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address alone.")] = False,
) -> None:
    """Go through the frames of a run in a browser: doubtful ones first; move points, accept, reject.

    Decisions go to RESULTS/review/READER.jsonl as they are made; nothing else is changed. Readers do not see each
    other's points until they have decided. The page is for this machine alone (127.0.0.1, a token in the address).

    Example: aop-pose review results/ --frames frames/ --reader anna
    """
    import webbrowser

    from aop_pose.review.server import serve
    from aop_pose.review.session import Session

    name = reader if reader is not None else _login_name()
    session = Session(results, name, frames, labels, weights)
    with session.log as log:
        for line in filter(None, (*session.notes, log.repaired)):
            speech.note(line)
        speech.say(
            f"{counted(len(session.items), 'frames')}, {session.decided} decided by {name}; decisions go to {log.path}"
        )
        serve(session, port, speech.say, (lambda address: None) if no_browser else webbrowser.open)


def _login_name() -> str:
    """The name of who is logged in, as that of a file; ``reader`` where nobody is known."""
    import getpass
    import re

    try:
        name = getpass.getuser()
    except (KeyError, ImportError, OSError):
        # A container may run as a number that no user has.
        name = ""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:40] or "reader"
