"""``aop-pose watch`` and ``listen``: frames as they come; ``deidentify`` and ``report``: files of the ward out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aop_pose.cli.common import NETWORKS, box_of
from aop_pose.cli.terminal import speech
from aop_pose.errors import RESEARCH_USE, UsageError

if TYPE_CHECKING:
    from aop_pose.clinic.incoming import Watcher
    from aop_pose.core.results import Result


def watch(
    folder: Annotated[Path, typer.Argument(help="Folder that an export drops files into.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for results.csv and overlays/.")],
    weights: Annotated[
        str | None, typer.Option("--weights", help="Artefact, or its name.", autocompletion=NETWORKS)
    ] = None,
    settle: Annotated[
        float, typer.Option("--settle", metavar="S", help="Seconds without a change after which a file is written.")
    ] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="Measure what is there, then stop.")] = False,
    overlay: Annotated[bool, typer.Option(help="Draw a picture of each frame.")] = True,
    keep_identifiers: Annotated[bool, typer.Option("--keep-identifiers", help="As predict takes it.")] = False,
) -> None:
    """Measure every file that is dropped into a folder, once it is written; a row a frame in results.csv.

    The same command goes on where an earlier one stopped, however it was stopped. One process writes to --out.
    A full disk is said and waited for. Stop it with Ctrl-C.

    Example: aop-pose watch inbox/ --out results/
    """
    watcher = _watcher(folder, out, weights, settle, overlay, keep_identifiers)
    speech.say(f"watching; rows go to {out}. {RESEARCH_USE}")
    watcher.run(once=once)


def listen(
    out: Annotated[Path, typer.Option("--out", help="Folder for incoming/ and results/.")],
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 11112,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; any but a loopback one opens it to others.")
    ] = "127.0.0.1",
    aet: Annotated[str, typer.Option("--aet", help="AE title that senders must call.")] = "AOPPOSE",
    allow: Annotated[
        list[str] | None, typer.Option("--allow", metavar="AET", help="AE title that may send (repeat); default any.")
    ] = None,
    send_to: Annotated[
        str | None,
        typer.Option("--send-to", metavar="AET@HOST:PORT", help="Node that gets report and picture of each file."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="Artefact, or its name.", autocompletion=NETWORKS)
    ] = None,
) -> None:
    """Receive DICOM files (C-STORE, C-ECHO) and measure them; on this machine alone unless --host says otherwise.

    Files are kept in OUT/incoming as they came, names and all, readable by their owner alone; rows and overlays are in
    OUT/results and say nothing of the patient. Nothing is encrypted: other machines should come through a tunnel.

    Example: aop-pose listen --out ward/
    """
    from aop_pose.clinic.incoming import MEASURED, Listener, Sender, is_loopback

    listener = Listener(out, host, port, aet, allow or (), on_file=lambda name: speech.say(f"received {name}"))
    watcher = _watcher(listener.incoming, out / MEASURED, weights, 0.5, True, False)
    if send_to is not None:
        sender = Sender.to(send_to, listener.incoming, out / MEASURED, aet)
        watcher.on_look = lambda: speech.say(f"{sent} reports sent") if (sent := sender.send()) else None
        if not is_loopback(sender.host):
            speech.note(f"REPORTS LEAVE THIS MACHINE: names and ids go to {sender.host}:{sender.port}, not encrypted")
    with listener.serving() as at:
        if not is_loopback(host):
            who = f"from {', '.join(allow)}" if allow else "from ANY title"
            speech.note(f"OPEN TO OTHER MACHINES: {host}:{at} takes files {who}, without encryption or password")
        speech.say(f"listening as {aet} on {host}:{at}; rows go to {out / MEASURED}. {RESEARCH_USE}")
        watcher.run()


def _watcher(
    folder: Path, out: Path, weights: str | None, settle: float, overlay: bool, keep_identifiers: bool
) -> Watcher:
    from aop_pose.clinic.incoming import Watcher
    from aop_pose.pipelines import open_weights

    if not settle > 0:
        raise UsageError(f"--settle: expected seconds above 0, found {settle:g}")
    return Watcher(
        open_weights(weights, None, "cpu", threads=1), folder, out, settle=settle, overlay=overlay,
        keep_identifiers=keep_identifiers, on_row=_say_row, on_trouble=speech.note,
    )  # fmt: skip


def _say_row(result: Result) -> None:
    angle = result.measurements.get("aop_deg")
    said = f"AoP {angle.value:.1f}" if angle is not None else result.reason
    speech.say(f"{result.source} {result.index}: {result.status}, {said}")


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

    done = copy(source, dst, box_of(region))
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
