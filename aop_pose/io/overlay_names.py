"""The file name of an overlay: from (source, index), unique, safe on every file system, sub-folders kept."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

_SAFE = frozenset(" ._-+,=()[]{}!#$&'")
_MAX_BYTES = 150
"""Of one part of a path; file systems take 255 bytes, and a temporary name needs room."""


def overlay_name(source: str, index: int) -> PurePosixPath:
    """Path of an overlay below ``overlays/``: ``sub/x.png`` for a PNG still, ``sub/x@gif-0003.png`` otherwise.

    Different (source, index) never share a name: ``@``, ``%`` and unsafe characters of a source are written
    as ``%NN``, so that an ``@`` is always ours, and a part that is too long is cut and ends in ``@`` and a
    hash of the whole.
    """
    *folders, name = source.split("/")
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    if suffix == "png" and index == 0:
        last = _quoted(stem)
        end = ".png"
    else:
        last = _quoted(stem)
        number = f"-{index:04d}" if index else ""
        end = f"@{_quoted(suffix)}{number}.png" if dot else f"@@{number}.png"
    return PurePosixPath(*(_folder(folder) for folder in folders), _cut(last, _MAX_BYTES) + _cut(end, _MAX_BYTES // 2))


def _folder(name: str) -> str:
    quoted = _cut(_quoted(name), _MAX_BYTES)
    # A folder must not take the name of a picture beside it; "", "." and ".." must not lead elsewhere.
    return f"{quoted}@" if quoted.lower().endswith(".png") or quoted.strip(".") == "" else quoted


def _quoted(text: str) -> str:
    kept = "".join(
        character if character.isalnum() or character in _SAFE else "".join(f"%{byte:02X}" for byte in _utf8(character))
        for character in text
    )
    # Windows drops a dot or a space at the end of a name.
    return kept[:-1] + f"%{ord(kept[-1]):02X}" if kept.endswith((".", " ")) and kept.strip(".") else kept


def _utf8(character: str) -> bytes:
    return character.encode("utf-8", "surrogatepass")


def _cut(text: str, limit: int) -> str:
    encoded = text.encode("utf-8")
    if len(encoded) <= limit:
        return text
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return encoded[: limit - 20].decode("utf-8", "ignore") + f"@{digest}"
