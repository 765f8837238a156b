"""``aop-pose deidentify`` and ``aop-pose report``: files of the ward out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aop_pose.cli.terminal import speech


def deidentify(
    source: Annotated[Path, typer.Argument(help="DICOM file, folder, DICOMDIR or zip.")],
    dst: Annotated[Path, typer.Argument(help="New folder for the copies.")],
    region: Annotated[
        str | None, typer.Option("--region", help="X,Y,W,H: what is kept of files that name no region themselves.")
    ] = None,
) -> None:
    """Write copies of DICOM files that are safe to share: region pixels only, and a header made anew.

    Pixels become 8-bit gray, as they are measured; all outside the ultrasound region is black. Names and UIDs are new
    (PS3.15, basic profile) and lead nowhere. A file that names no region is left out unless --region gives one.
    Exit code 0: all copied; 3: some were left out, said by their place in the order of names.

    Example: aop-pose deidentify study/ shared/
    """
    from aop_pose.clinic.deidentify import deidentify as copy
    from aop_pose.core.region import Region, wanted_region
    from aop_pose.errors import UsageError

    box = None if region is None else wanted_region(region)
    if isinstance(box, str):
        raise UsageError(f"--region: expected X,Y,W,H, found {region!r}")
    assert box is None or isinstance(box, Region)
    done = copy(source, dst, box)
    for number, reason in done.left_out:
        speech.note(f"file {number} left out: {reason}")
    speech.say(f"{dst}: {done.written} copies, {len(done.left_out)} left out")
    raise typer.Exit(3 if done.left_out else 0)


def report(
    results: Annotated[Path, typer.Argument(help="Folder of a run of predict.")],
    frames: Annotated[Path, typer.Option("--frames", help="The DICOM files that were measured; a folder or a zip.")],
    dicom: Annotated[Path, typer.Option("--dicom", help="New folder for the reports.")],
    deidentified: Annotated[
        bool, typer.Option("--deidentify", help="Say nothing of the patient (PS3.15, basic profile).")
    ] = False,
) -> None:
    """Write measurements as DICOM: a structured report and a picture for each file that was measured.

    NAME_sr.dcm is a Comprehensive SR (TID 1500) with the angle, its interval and its points on the frame it was
    measured on; NAME_sc.dcm is the overlay of the best frame. Both belong to the patient's study, as a PACS needs it;
    --deidentify leaves the patient out.

    Example: aop-pose report results/ --frames study/ --dicom reports/
    """
    from aop_pose.clinic.report import write_reports

    done = write_reports(results, frames, dicom, deidentified)
    for line in done.notes:
        speech.note(line)
    whose = "nothing of the patient is in them" if deidentified else "they belong to the patient's record: name and ids"
    speech.say(f"{dicom}: {done.reports} reports, {done.captures} pictures; {whose}")
