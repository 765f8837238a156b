"""Runs of Ray for ``test_runners``, in a process of their own: ``python -m tests.measuring.ray_runs FOLDER``.

One cluster of two workers serves all of them; what each said or left is in its folder.
"""

import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from threading import Thread

import attrs
import cv2

from aop_pose.errors import AopPoseError
from aop_pose.inference.weights import load, shipped_phantoms
from aop_pose.io.folders import TABLE
from aop_pose.measuring import runners
from aop_pose.measuring.folder import predict
from aop_pose.measuring.runners import Ray
from tests.fakes import fake_predictor, textured, write_frames

LIMIT = 480
"""Seconds after which anything here is given up; all of it needs 40 on a quiet machine."""


MARK = 100
"""Brightness of the first row of a frame at which the predictor of ``marked_predictor`` stops."""


def marked_predictor(until=None):
    """The fake predictor; at a marked frame it waits until that file is there, or without one ends its process."""
    plain = fake_predictor()

    def network(inputs):
        if (abs(inputs[:, 0, 0].mean(axis=1) - MARK / 255) < 0.01).any():
            if until is None:
                os.kill(os.getpid(), signal.SIGKILL)
            wait_for(until.exists)
        return plain.network(inputs)

    return attrs.evolve(plain, network=network)


def marked_frames(folder, count, marked):
    """Frames, one of them marked."""
    write_frames(folder, count)
    cv2.imwrite(str(folder / f"{marked:03d}.png"), textured(marked, first_row=MARK))
    return folder


def wait_for(said, seconds=LIMIT):
    end = time.monotonic() + seconds
    while not said():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)


def ray_processes(word="ray::"):
    """Processes of this machine that Ray named so."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if command.startswith(word):
            found.append(int(folder.name))
    return found


def rows_in(table):
    """Whole lines of a table, its header one of them."""
    return table.read_bytes().count(b"\n") if table.exists() else 0


def real_network(here):
    frames, opener = shipped_phantoms() / "images", partial(load, "aop-fast", threads=1)
    for workers in (1, 2):
        predict(opener(), [frames], here / f"ray{workers}", runner=Ray(opener), workers=workers)


def parquet(here):
    frames = write_frames(here / "frames", 5)
    predict(fake_predictor(), [frames], here / "out", overlay=False, format="parquet", runner=Ray(fake_predictor))


def killed_worker(here):
    frames, killed = marked_frames(here / "frames", 12, 6), here / "killed"

    def kill():
        wait_for(lambda: rows_in(here / "out" / TABLE) > 2)
        worker = ray_processes("ray::MapWorker")[0]
        os.kill(worker, signal.SIGKILL)
        killed.write_text(str(worker))

    killer = Thread(target=kill)
    killer.start()
    runner = Ray(partial(marked_predictor, killed))
    predict(fake_predictor(), [frames], here / "out", overlay=False, runner=runner, workers=1)
    killer.join()


def deadly_file(here):
    frames = marked_frames(here / "frames", 4, 2)
    predict(fake_predictor(), [frames], here / "out", overlay=False, runner=Ray(marked_predictor), workers=1)


def other_weights(here):
    frames = write_frames(here / "frames", 2)
    predict(fake_predictor(), [frames], here / "out", overlay=False, runner=Ray(partial(load, "aop-fast")))


def lost_storage(here):
    frames, away = marked_frames(here / "frames", 8, 4), here / "away"

    def lose():
        wait_for(lambda: rows_in(here / "out" / TABLE) > 2)
        frames.rename(away)

    loser = Thread(target=lose)
    loser.start()
    runner = Ray(partial(marked_predictor, away))
    predict(fake_predictor(), [frames], here / "out", overlay=False, runner=runner, workers=1)
    loser.join()


RUNS = (real_network, parquet, killed_worker, deadly_file, other_weights, lost_storage)


def main(folder):
    runners.PART = 2
    with runners.cluster(2):
        for run in RUNS:
            here = folder / run.__name__
            here.mkdir()
            try:
                run(here)
                said = ""
            except AopPoseError as error:
                said = str(error)
            (here / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
