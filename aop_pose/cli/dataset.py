"""``aop-pose dataset``: convert, check and split labelled data, or make phantoms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aop_pose.cli.common import NETWORKS, box_of, offering, sub_app, sub_command
from aop_pose.cli.terminal import speech
from aop_pose.errors import counted

app = sub_app(
    help="Convert, check and split labelled data; make phantoms.",
    epilog="Example: aop-pose dataset check data/labels.csv",
)

# So many reasons are printed; the rest is counted.
_SHOWN = 20
_USUAL_SIZE = {"aop": 256, "head": 256, "fetus": 88}


@sub_command(app, "convert")
def convert(
    source: Annotated[Path, typer.Argument(help="Folder of a data set, or a label file.", metavar="SRC")],
    dst: Annotated[Path, typer.Argument(help="Folder to write; appears only when complete.", metavar="DST")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="iugc, masks, yolo-pose, yolo-detect, head-csv, points-3d; or an annotation tool's: coco, "
            "label-studio, cvat, slicer, napari, labelme.",
            autocompletion=offering("formats.registry:written_formats"),
        ),
    ],
    source_format: Annotated[
        str,
        typer.Option(
            "--from",
            help="One of the formats of --to, or a data set's own layout: psfhs, fh-ps-aop, iugc2024, "
            "iugc2025, jnu-ifm, hc18, fetal-mri; or results or outlines, of a run of predict. Default: found by what "
            "the folder holds.",
            autocompletion=offering("formats.registry:FORMATS"),
        ),
    ] = "",
    val: Annotated[
        float,
        typer.Option("--val", min=0, max=0.9, help="YOLO formats: share held out where the source has no split."),
    ] = 0.1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="YOLO formats: which groups are held out.")] = 0,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of a label file's pictures. Default: that of the label file.")
    ] = None,
    splits: Annotated[
        Path | None,
        typer.Option(
            "--splits",
            help="Folder of name lists: every NAME.txt becomes DST/NAME.csv, unlabelled.txt stays a list. "
            "datasets/splits/ holds the published ones.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a data set in DST.")] = False,
) -> None:
    """Convert a data set into another label format.

    Frames that cannot be converted are named with the reason and left out. Near-duplicate pictures are never
    parted between train and val.

    Example: aop-pose dataset convert PSFHS/ psfhs-yolo/ --from psfhs --to yolo-pose
    """
    from aop_pose.formats.convert import Holdout
    from aop_pose.formats.convert import convert as run

    done = run(source, dst, to, source_format, Holdout(val, seed), overwrite, data, splits)
    for note in done.notes:
        speech.note(note)
    for skipped in done.skipped[:_SHOWN]:
        speech.note(f"left out {skipped.name}: {skipped.reason}")
    if len(done.skipped) > _SHOWN:
        speech.note(f"left out {len(done.skipped) - _SHOWN} more")
    held = "" if done.held_out is None else f", {done.held_out} of them in val"
    speech.say(
        f"{done.source_format} -> {to}: {counted(done.written, 'frames')} in {dst}{held}, {len(done.skipped)} left out"
    )
    for name, count in done.splits.items():
        speech.say(f"{dst / name}: {counted(count, 'frames')}")


@sub_command(app, "check")
def check(
    path: Annotated[
        Path,
        typer.Argument(
            help="Label file, file or zip of an annotation tool, or folder with labels.csv, data.yaml or masks/.",
            metavar="PATH",
        ),
    ],
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of the pictures. Default: that of the label file.")
    ] = None,
) -> None:
    """Name every bad row of a data set by file and line.

    Looks for missing and unreadable pictures, points outside their picture, wrong columns, values that are no
    numbers, repeated names, and angles that disagree with their points by more than 0.1 degrees. The exit
    code is 1 where something was found, else 0.

    Example: aop-pose dataset check data/labels.csv
    """
    from aop_pose.formats.registry import check as run

    report = run(path, data)
    for finding in report.findings:
        speech.say(str(finding))
    speech.say(report.summary)
    if report.findings:
        raise typer.Exit(1)


@sub_command(app, "split")
def split(
    source: Annotated[Path, typer.Argument(help="Label file, or folder with labels.csv.", metavar="SRC")],
    dst: Annotated[Path, typer.Argument(help="Folder for train.csv and val.csv.", metavar="DST")],
    val: Annotated[float, typer.Option("--val", help="Share of the frames to hold out.")] = 0.1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which groups are held out.")] = 0,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of the pictures. Default: that of the label file.")
    ] = None,
    group_column: Annotated[str, typer.Option("--group-column", help="Column that names the patient.")] = "",
    group_regex: Annotated[
        str, typer.Option("--group-regex", help="Finds the patient in Filename, as its first bracket.")
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace train.csv and val.csv.")] = False,
) -> None:
    """Cut a label file into train.csv and val.csv, never parting a group.

    Near-duplicate pictures are one group, and so are the frames of a patient where --group-column or
    --group-regex tells patients. Pictures stay where they are: give their folder to --data when training.

    Example: aop-pose dataset split hc18/labels.csv split/ --val 0.1 --seed 0 --group-regex '^([0-9]+)_'
    """
    from aop_pose.formats.split import split_table

    done = split_table(
        source,
        dst,
        val,
        seed,
        data=data,
        group_column=group_column,
        group_regex=group_regex,
        overwrite=overwrite,
    )
    speech.say(
        f"{dst / 'train.csv'}: {counted(done.train, 'frames')} in {counted(done.train_groups, 'groups')}; "
        f"{dst / 'val.csv'}: {counted(done.val, 'frames')} in {counted(done.val_groups, 'groups')}"
    )


@sub_command(app, "phantom")
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write; appears only when complete.", metavar="OUT")],
    count: Annotated[int, typer.Option("--count", min=1, help="How many frames, planes or files.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same frames.")] = 0,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            help="aop: width and height in pixels (default 256); head: width (256); fetus: voxels along the longest "
            "side (88).",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="aop: one device only. Default: drawn for each frame.")
    ] = None,
    schema: Annotated[
        str,
        typer.Option(
            "--schema",
            help="aop: transperineal frames; head: planes of a head; fetus: volumes of a fetus.",
            autocompletion=offering(*_USUAL_SIZE),
        ),
    ] = "aop",
    times: Annotated[
        int | None,
        typer.Option(
            "--times", min=1, help="fetus: time points of a moving fetus in each file, which is 4-D then. Default: 3-D."
        ),
    ] = None,
    difficulty: Annotated[
        float | None,
        typer.Option(
            "--difficulty",
            metavar="0..1",
            help="fetus: specks and haze in the fluid, echoes of the skin, shadows, loss with depth. Default: 0.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what OUT holds.")] = False,
) -> None:
    """Make up transperineal frames with exact landmarks and masks, head planes with exact axes, or volumes of a fetus.

    Volumes have 22 exact points in voxel indices: OUT/volumes/*.nii.gz and OUT/labels.csv, which has a row a time point
    with --times.

    Example: aop-pose dataset phantom phantoms/ --count 100 --seed 0
    """
    from aop_pose.errors import UsageError
    from aop_pose.phantom import write_fetus_phantoms, write_head_phantoms, write_phantoms

    if schema not in _USUAL_SIZE:
        raise UsageError(f"--schema: expected aop, head or fetus, found {schema!r}")
    if schema != "aop" and device is not None:
        raise UsageError(f"--device: expected none with --schema {schema}, found {device!r}")
    if schema != "fetus" and times is not None:
        raise UsageError(f"--times: expected none with --schema {schema}, found {times}")
    if schema != "fetus" and difficulty is not None:
        raise UsageError(f"--difficulty: expected none with --schema {schema}, found {difficulty:g}")
    size = _USUAL_SIZE[schema] if size is None else size
    if schema == "fetus":
        written = write_fetus_phantoms(
            out, count, seed, size=size, times=times, difficulty=difficulty or 0.0, overwrite=overwrite
        )
    elif schema == "head":
        written = write_head_phantoms(out, count, seed, size=size, overwrite=overwrite)
    else:
        written = write_phantoms(out, count, seed, size=size, device=device, overwrite=overwrite)
    speech.say(f"{counted(count, 'phantoms')} in {written}")


@sub_command(app, "merge")
def merge(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Label files of any format, or logs of review; NAME=FILE says who read it.",
            metavar="FILE...",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Label file of the consensus.")],
    rounds: Annotated[
        str,
        typer.Option(
            "--rounds",
            help="A reader's several files: mean, or last = the latest of each picture.",
            autocompletion=offering("mean", "last"),
        ),
    ] = "mean",
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of the pictures, for the reports of agreement.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier consensus.")] = False,
) -> None:
    """Bring readers and rounds together: what moved, how well they agree, and a consensus with its uncertainty.

    The consensus is a label file with PS1_sd_px, PS2_sd_px, FH1_sd_px, AoP_sd and readers beside the points, which
    training and evaluate understand. Pictures on which no majority agrees are left out and listed for a third reader.
    NAME-agreement/ beside it holds moved.csv, third_reader.csv and a report of agreement for each pair.

    Example: aop-pose dataset merge anna.csv ben.csv results/review/cleo.jsonl --out consensus.csv
    """
    import numpy as np

    from aop_pose.errors import UsageError
    from aop_pose.review.merge import AGREEMENT, read_rounds, write_merged
    from aop_pose.review.merge import merge as run

    if rounds not in ("mean", "last"):
        raise UsageError(f"--rounds: expected mean or last, found {rounds!r}")
    given, schema, notes = read_rounds(files)
    merged = run(given, schema, latest=rounds == "last")
    for note in [*notes, *write_merged(merged, out, overwrite, images)]:
        speech.note(note)
    for pair in merged.moved:
        if not pair.names:
            speech.say(f"{pair.first} -> {pair.second}: no picture in common")
            continue
        middles = zip(schema.points, np.median(pair.distances, axis=0), strict=True)
        moved = ", ".join(f"{point} {middle:.1f}" for point, middle in middles)
        turned = "; ".join(
            f"{schema.quantity(column).title} {np.nanmedian(np.abs(values)):.1f}{schema.quantity(column).sign}"
            for column, values in pair.changes.items()
        )
        speech.say(f"{pair.first} -> {pair.second}: {len(pair.names)} pictures; moved by (median) {moved} px; {turned}")
    scatter = ", ".join(f"{name} {sd:.1f} px" for name, sd in merged.scatter.items() if sd == sd)
    if scatter:
        speech.say(f"scatter of each reader along one axis: {scatter}")
    if merged.ties:
        speech.say(f"{len(merged.ties)} pictures for a third reader, left out: {out.stem}{AGREEMENT}/third_reader.csv")
    speech.say(f"{out}: {len(merged.consensus.names)} pictures of {len(merged.scatter)} readers")


@sub_command(app, "pick")
def pick(
    images: Annotated[Path, typer.Option("--images", help="Folder of the frames, or one with images/ in it.")],
    weights: Annotated[
        str,
        typer.Option(
            "--weights", help="The network: artefact, its name, run folder or checkpoint.", autocompletion=NETWORKS
        ),
    ],
    count: Annotated[int, typer.Option("--count", min=1, help="Frames to choose.")],
    out: Annotated[Path, typer.Option("--out", help="The .csv file to write.")],
    labels: Annotated[
        list[str] | None, typer.Option("--labels", help="Label file of frames that are labelled; may be repeated.")
    ] = None,
    group_regex: Annotated[
        str,
        typer.Option("--group-regex", help="Finds the patient in Filename, as its first bracket; they take turns."),
    ] = "",
    draws: Annotated[int, typer.Option("--draws", min=1, max=1000, help="Passes after noise, per frame.")] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Every draw follows from it and the file's name.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out.")] = False,
) -> None:
    """Choose the frames to label next: where the network is in doubt, unlike the labelled ones and each other.

    Writes Filename,rank,doubt,distance. Near-duplicates of labelled frames are never chosen, nor are two of each other.

    Example: aop-pose dataset pick --images frames/ --weights aop-fast --labels labels.csv --count 50 --out next.csv
    """
    from aop_pose.cli.terminal.progress import EpochProgress
    from aop_pose.inference.engine import usable_cores
    from aop_pose.pipelines import load_weights
    from aop_pose.review.pick import pick as run
    from aop_pose.review.pick import write_picked

    predictor = load_weights(weights, threads=1)
    with EpochProgress() as progress:
        found = run(
            predictor, images, count, labels or (), group_regex=group_regex, draws=draws, seed=seed,
            workers=usable_cores(), on_frame=progress.frames,
        )  # fmt: skip
    write_picked(found.picks, out, overwrite)
    if found.unreadable:
        speech.note(f"left out {len(found.unreadable)} frames that cannot be read, the first {found.unreadable[0]}")
    if len(found.picks) < count:
        speech.note(f"asked for {count}: there are no more that are unlike each other and the labelled ones")
    speech.say(
        f"{out}: {len(found.picks)} of {found.looked_at} frames without a label; {found.alike} are near-duplicates of "
        "labelled ones"
    )


@sub_command(app, "frames")
def frames(
    source: Annotated[Path, typer.Argument(help="Cine, DICOM file, folder, DICOMDIR or zip.", metavar="CINE")],
    dst: Annotated[Path, typer.Argument(help="New folder for the frames.", metavar="OUT")],
    every: Annotated[int, typer.Option("--every", metavar="N", help="Every N-th frame, from the first.")] = 1,
    start: Annotated[float | None, typer.Option("--from", metavar="S", help="From this second on.")] = None,
    end: Annotated[float | None, typer.Option("--to", metavar="S", help="Up to this second.")] = None,
    region: Annotated[
        str | None,
        typer.Option("--region", help="X,Y,W,H: what is kept, the rest is black. Default: that of the file."),
    ] = None,
) -> None:
    """Take frames out of cines, to be labelled: PNG, gray, without anything of the patient.

    Of DICOM files the ultrasound region alone is kept, under a new name that leads nowhere; one that names no region is
    left out unless --region gives one. Videos keep their names, and all that is burned in unless --region hides it.
    Exit code 0: all taken; 3: some file was left out, or broke off, said by its place in the order of names.

    Example: aop-pose dataset frames study/ frames/ --every 10
    """
    from aop_pose.clinic.deidentify import write_frames
    from aop_pose.io.clinic.video import Selection

    done = write_frames(source, dst, Selection(every, start, end), box_of(region))
    for number, reason in done.left_out:
        speech.note(f"file {number}: {reason}")
    if done.whole:
        speech.note(f"{done.whole} frames of videos or pictures are whole: look for burned-in names, or give --region")
    speech.say(f"{dst}: {counted(done.written, 'frames')}, {counted(len(done.left_out), 'files')} left out")
    raise typer.Exit(3 if done.left_out else 0)
