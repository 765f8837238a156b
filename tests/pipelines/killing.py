"""How a run is broken off in the tests."""


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""
