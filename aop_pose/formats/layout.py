"""What a source of labels is: a format of ours or a data set's own folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import attrs

Kind = Literal["points", "masks", "boxes", "head", "volumes"]


@attrs.frozen
class Layout:
    """How one kind of folder or file is recognised and read."""

    name: str
    """As given to ``--from``."""
    kind: Kind
    """What its frames carry: LabelledFrame, MaskedFrame, BoxedFrame, HeadFrame or LabelledVolume."""
    looks_for: str
    """What makes a folder this one, in words, for the message when nothing fits."""
    fits: Callable[[Path], bool]
    read: Callable[[Path], Iterable[Any]]
    """Frames of its kind, and ``Skipped`` for what the folder names but does not have."""
    read_with: Callable[[Path, Path], Iterable[Any]] | None = None
    """The same with pictures below another folder; None where the source itself holds them."""


def nested(folder: Path, holds: Callable[[Path], bool]) -> Path | None:
    """The folder itself or the first one that fits two levels below it (archives often add one or two)."""
    if not folder.is_dir():
        return None
    for place in (
        folder,
        *_folders(folder),
        *(deeper for child in _folders(folder) for deeper in _folders(child)),
    ):
        if holds(place):
            return place
    return None


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())
