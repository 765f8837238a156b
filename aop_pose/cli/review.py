"""``aop-pose review``: a page on which a person goes through the frames of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aop_pose.cli.terminal import speech


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
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 = any that is free.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address alone.")] = False,
) -> None:
    """Go through the frames of a run in a browser: doubtful ones first; move points, accept, reject.

    Decisions go to RESULTS/review/READER.jsonl as they are made; nothing else is changed. Readers do not see each
    other's points until they have decided. The page is for this machine alone (127.0.0.1, a token in the address).

    Example: aop-pose review results/ --frames frames/ --reader anna
    """
    import getpass
    import re
    import webbrowser

    from aop_pose.review.server import serve
    from aop_pose.review.session import Session

    name = reader if reader is not None else re.sub(r"[^A-Za-z0-9_-]+", "-", getpass.getuser()).strip("-_")[:40]
    session = Session(results, name, frames, labels)
    with session.log as log:
        for line in filter(None, (*session.notes, log.repaired)):
            speech.note(line)
        speech.say(f"{len(session.items)} frames, {session.decided} decided by {name}; decisions go to {log.path}")
        serve(session, port, speech.say, (lambda address: None) if no_browser else webbrowser.open)
