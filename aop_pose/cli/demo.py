"""``aop-pose demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder to write; an earlier demo in it is replaced.")] = Path(
        "aop-demo"
    ),
) -> None:
    """Measure the packaged phantom frames with the shipped artefact: a table, overlays and a contact sheet.

    The gate, which would withhold some of these made-up frames, is off.

    Example: aop-pose demo
    """
    import cv2
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from aop_pose.artefacts import shipped_phantoms
    from aop_pose.cli.measuring import measure_to
    from aop_pose.errors import UsageError
    from aop_pose.formats.iugc import read_iugc
    from aop_pose.geometry import angle_of_progression
    from aop_pose.io.outputs import CONTACT_SHEET, sources_of_run
    from aop_pose.io.overlay import contact_sheet, write_overlay
    from aop_pose.io.overlay_names import overlay_name
    from aop_pose.io.table import read_results

    phantoms = shipped_phantoms()
    # An earlier demo may be of another installation: the last names of its folder tell it.
    own = [Path(source).parts[-2:] for source in sources_of_run(out)] == [(phantoms / "images").parts[-2:]]
    if out.is_dir() and any(out.iterdir()) and not own:
        raise UsageError(
            f"--out: expected a new or empty folder, or one of an earlier demo, found other files in {out}"
        )
    # The gate knows how real frames look, and phantoms do not quite.
    code = measure_to([phantoms / "images"], out, overwrite=True, gate=False)
    truth = {
        frame.filename: float(angle_of_progression(*frame.keypoints.coords))
        for frame in read_iugc(phantoms / "labels.csv", phantoms)
    }
    table = Table("frame", "status", "AoP measured", "AoP true", "score", title="Made-up frames (phantoms)")
    pictures: list[np.ndarray] = []
    for row in read_results(out / "results.csv"):
        angle = f"{float(row['aop_deg']):.1f}°" if row["aop_deg"] else row["reason"]
        table.add_row(row["source"], row["status"], angle, f"{truth[row['source']]:.1f}°", row["score"])
        pictures.append(np.asarray(cv2.imread(str(out / "overlays" / overlay_name(row["source"], 0)))))
    Console().print(table)
    write_overlay(out / CONTACT_SHEET, contact_sheet(pictures))
    typer.echo(f"pictures to check by eye: {out / CONTACT_SHEET}")
    raise typer.Exit(code)
