"""``aop-pose evaluate``: results against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aop_pose.cli.terminal import speech
from aop_pose.errors import RESEARCH_USE, UsageError

if TYPE_CHECKING:
    import numpy as np

    from aop_pose.core.frame import Volume
    from aop_pose.core.keypoints import Keypoints


def evaluate(
    results: Annotated[
        Path | None, typer.Argument(help="results.csv, or the folder it is in; or a label file.", show_default=False)
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Argument(
            show_default=False,
            help="Label file (iugc, head-csv for the head, 3-D points for volumes), or another results.csv: two "
            "methods or two readers.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for metrics.json, per_frame.csv and report.html; replaces earlier ones."),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            "--scale",
            min=1,
            help="Give pixel errors as if the longer side of each picture had this many pixels; "
            "the challenges use 512. Default: pixels of the original frames.",
        ),
    ] = None,
    group: Annotated[
        str,
        typer.Option(
            "--group",
            metavar="COLUMN|auto",
            help="Frames that intervals draw together: a column of TRUTH (a patient), or auto: pictures that are "
            "nearly the same where --images is given, else each frame alone.",
        ),
    ] = "auto",
    group_regex: Annotated[
        str,
        typer.Option("--group-regex", help="Finds the patient in the name of a frame, as its first bracket."),
    ] = "",
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            help="Folder of the pictures: worst frames, error against contrast, groups; or of the volumes, whose "
            "spacing errors in mm need and of which the worst are drawn (default: where TRUTH is).",
        ),
    ] = None,
    at: Annotated[
        list[float] | None,
        typer.Option(
            "--at",
            metavar="DEG",
            help="A further angle at which agreement is given, beside 110, 120 and 140; repeatable.",
        ),
    ] = None,
    decision_curve: Annotated[
        bool, typer.Option("--decision-curve", help="Add a decision curve for each threshold to the page.")
    ] = False,
    checklist: Annotated[
        bool,
        typer.Option("--checklist", help="Add checklist.html: GRRAS and STARD, filled in as far as the files tell."),
    ] = False,
    with_missing: Annotated[
        bool,
        typer.Option(
            "--with-missing", help="Also print each figure with a missing frame counted as off by its diagonal."
        ),
    ] = False,
    label_sd: Annotated[
        float | None,
        typer.Option(
            "--label-sd",
            metavar="DEG",
            help="Standard deviation of one reader's angle about the true one: what a perfect reader would show, and "
            "what is left of the error. Default: that of repeated readings in TRUTH, or of its column AoP_sd (its "
            "columns PS1_sd_px, ... say how far readings of a point lie from their mean, root mean square).",
        ),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Say how many patients a study needs for limits of agreement of a precision; with --sd and "
            "--half-width, and nothing else.",
        ),
    ] = False,
    sd: Annotated[
        float | None, typer.Option("--sd", metavar="DEG", help="Expected standard deviation of the differences.")
    ] = None,
    half_width: Annotated[
        float | None,
        typer.Option("--half-width", metavar="DEG", help="Half the width of each limit's 95 % interval."),
    ] = None,
) -> None:
    """Compare results with the true points, or two readers with each other, and print the errors.

    Prints errors and agreement with their intervals, and writes metrics.json, per_frame.csv and report.html (one
    page, opens without a network). A true frame that was not measured is missing: it is left out of the plain
    figures, and counts as an error of the picture's diagonal (and of 180 degrees) in those that end in
    _with_missing. A column of TRUTH called device, scanner, machine, vendor, centre, center, hospital or site
    gives a row for each of its values. With --images the page holds pictures of frames; of volumes it always does.
    For the head, lengths are compared in millimetres too where TRUTH (pixel_size_mm) or RESULTS know the size of a
    pixel, and HC with the expert's where TRUTH has head_circumference_mm. Points in volumes are compared in
    millimetres, as named and up to a swap of left and right.

    Example: aop-pose evaluate results/ labels.csv --out evaluation/ --scale 512 --images frames/
    """
    if plan:
        others = (results, truth, out, scale, images, at, label_sd, group_regex or None)
        if any(one is not None for one in others) or group != "auto" or decision_curve or with_missing or checklist:
            raise UsageError("--plan: expected --sd and --half-width and nothing else")
        return _plan(sd, half_width)
    if sd is not None or half_width is not None:
        raise UsageError("--sd, --half-width: expected with --plan only; the noise of labels is --label-sd")
    if results is None or truth is None or out is None:
        raise UsageError("evaluate: expected RESULTS, TRUTH and --out DIR, as in aop-pose evaluate --help")
    from aop_pose.evaluation import comparison
    from aop_pose.evaluation.report.cautions import cautions
    from aop_pose.evaluation.report.checklist import CHECKLIST_FILE
    from aop_pose.evaluation.report.checklist import checklist as checklist_page
    from aop_pose.evaluation.report.files import summary_table, write_texts

    compared = comparison.evaluate(
        results, truth, scale=scale, group=group, group_regex=group_regex, images=images, at=at or (),
        label_sd=label_sd, draw=_sheet,
    )  # fmt: skip
    written = [str(path) for path in compared.write(out, decision_curve)]
    if checklist:
        write_texts(out, {CHECKLIST_FILE: checklist_page(compared, RESEARCH_USE)})
        written.append(str(out / CHECKLIST_FILE))
    for sentence in (*cautions(compared), *compared.notes):
        speech.note(sentence)
    speech.show(summary_table(compared, with_missing))
    speech.say(f"wrote {', '.join(written[:-1])} and {written[-1]}. {RESEARCH_USE}")


def _sheet(volume: Volume, found: Keypoints | None, truth: Keypoints, reason: str) -> np.ndarray:
    from aop_pose.draw.volume import volume_sheet

    return volume_sheet(volume, found, truth, reason=reason)


def _plan(sd: float | None, half_width: float | None) -> None:
    from aop_pose.evaluation.figures import LEAST_FOR_LIMITS
    from aop_pose.stats.planning import STUDIES, plan

    if sd is None or half_width is None:
        raise UsageError("--plan: expected --sd DEG and --half-width DEG, as in --plan --sd 7.4 --half-width 2")
    found = plan(sd, half_width)
    speech.say(
        f"Patients, one frame of each, so that the 95 % interval of each limit of agreement reaches {half_width:g} "
        f"degrees to either side, with differences of standard deviation {sd:g} degrees:\n"
        f"  {found.published:6}  Bland and Altman 1986: standard error of a limit about sqrt(3 / n) SD\n"
        f"  {found.exact:6}  Carkeet 2015: exact interval (noncentral t), the SD as expected\n"
        f"  {found.simulated:6}  simulation of {STUDIES} studies: spread of their limits\n"
        f"  {found.nearly_sure:6}  so that nine of ten studies have intervals as narrow; with {found.exact} patients "
        f"{found.narrow_enough:.0%} have\n"
        "Normal differences are assumed. Several frames of one patient count for less than so many patients. With "
        f"fewer than {LEAST_FOR_LIMITS} patients evaluate gives limits without intervals. {RESEARCH_USE}"
    )
