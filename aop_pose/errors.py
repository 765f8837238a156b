"""Errors that a person reads: one line that says what was expected, what was found and what to do."""

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


def counted(number: int, word: str) -> str:
    """``1 frame``, ``2 frames``: ``word`` is the plural."""
    return f"{number} {word.removesuffix('s') if number == 1 else word}"


class AopPoseError(Exception):
    """A run that failed. The command line prints the message without a traceback and exits with ``exit_code``."""

    exit_code = 1

    def __str__(self) -> str:
        # A cell or a file name that is quoted may hold line breaks.
        return printable(" ".join(super().__str__().splitlines()))


class UsageError(AopPoseError):
    """Nothing was written: wrong usage, nothing found, an artefact that does not fit."""

    exit_code = 2


class UnreadableError(AopPoseError):
    """One file that could not be decoded; its message becomes the reason in the row."""


class StorageError(AopPoseError):
    """A place that holds files does not answer; what is measured stands, and the run goes on once it does."""


RESEARCH_USE = "Not a medical device; research use only."
"""Stands wherever an angle is printed for a person."""
