"""How a run is broken off in the tests, and what it is compared by."""

import csv


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def kill_at(epoch, batch):
    """For a job's ``on_batch``."""

    def kill(step):
        if (step.epoch, step.batch) == (epoch, batch):
            raise Killed

    return kill


def rows_of(run):
    """What a run folder's metrics.csv says, without what differs from run to run."""
    with (run / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
