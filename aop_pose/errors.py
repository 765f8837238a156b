"""Errors that a person reads: one line that says what was expected, what was found and what to do."""


class AopPoseError(Exception):
    """A run that failed. The command line prints the message without a traceback and exits with ``exit_code``."""

    exit_code = 1


class UsageError(AopPoseError):
    """Nothing was written: wrong usage, nothing found, an artefact that does not fit."""

    exit_code = 2


class UnreadableError(AopPoseError):
    """One file that could not be decoded; its message becomes the reason in the row."""


RESEARCH_USE = "Not a medical device; research use only."
"""Stands wherever an angle is printed for a person."""
