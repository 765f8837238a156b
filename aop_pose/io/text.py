"""Text that fits one line of UTF-8: what file names and decoders give is made printable before it is stored."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """The same text with control characters, line breaks and undecodable bytes written as ``\\xNN`` or ``\\uNNNN``.

    Idempotent, so a file name that went through it equals what is read back from a table.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) if _breaks_a_line(character) else character for character in text)


def _breaks_a_line(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
