"""How a run is broken off in the tests, and what it is compared by."""

import csv
import os
import signal
import subprocess
import sys

DRIVER = """
import sys
import time

from aop_pose.cli import main
from aop_pose.cli.terminal import progress

EPOCH, BATCH = int(sys.argv[1]), int(sys.argv[2])


def wait(self, step):
    if (step.epoch, step.batch) == (EPOCH, BATCH):
        print("here", flush=True)
        time.sleep(120)


progress.EpochProgress.batch = wait
main.main(sys.argv[3:])
"""
"""The command line, which waits in its training for a Ctrl-C from outside."""


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def kill_at(epoch, batch):
    """For a job's ``on_batch``."""

    def kill(step):
        if (step.epoch, step.batch) == (epoch, batch):
            raise Killed

    return kill


def interrupted_at(epoch, batch, words):
    """Run a command in a process of its own and send it SIGINT in its training: exit code and what it wrote to stderr.

    A training that ends before it is reached gives its own exit code.
    """
    command = [sys.executable, "-c", DRIVER, str(epoch), str(batch), *words]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"},
    )  # fmt: skip
    try:
        for line in process.stdout:
            if line.strip() == "here":
                process.send_signal(signal.SIGINT)
                break
        told = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    return process.returncode, told


def rows_of(run):
    """What a run folder's metrics.csv says, without what differs from run to run."""
    with (run / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
