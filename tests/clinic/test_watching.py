"""A watched folder: every file once, when it is written, through kills, restarts and full disks."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from aop_pose.clinic.incoming import Watcher
from aop_pose.core.results import Result
from aop_pose.errors import UsageError
from aop_pose.io.table import read_results
from tests.fakes import fake_predictor, textured, write_frames
from tests.video_files import save_video

SETTLE = 0.05


def watcher(folder: Path, out: Path, **options: object) -> Watcher:
    return Watcher(fake_predictor(), folder, out, **{"settle": SETTLE, "overlay": False, **options})  # type: ignore[arg-type]


def rows(out: Path) -> list[tuple[str, str, str]]:
    return [(row["source"], row["index"], row["status"]) for row in read_results(out / "results.csv")]


def test_what_is_there_is_measured_once_and_a_later_run_adds_what_is_new(tmp_path: Path) -> None:
    write_frames(tmp_path / "in", 2)
    watcher(tmp_path / "in", tmp_path / "out").run(once=True)
    assert rows(tmp_path / "out") == [("000.png", "0", "ok"), ("001.png", "0", "ok")]
    write_frames(tmp_path / "in", 3)
    watcher(tmp_path / "in", tmp_path / "out").run(once=True)
    assert rows(tmp_path / "out") == [(f"00{number}.png", "0", "ok") for number in range(3)]


def test_a_file_is_measured_when_it_has_settled(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    whole = cv2.imencode(".png", textured(0))[1].tobytes()
    (tmp_path / "in" / "slow.png").write_bytes(whole[:2000])
    looks = []

    def stopped() -> bool:
        # At every question the file grows, until it is whole.
        size = (tmp_path / "in" / "slow.png").stat().st_size
        (tmp_path / "in" / "slow.png").write_bytes(whole[: size + 4000])
        looks.append(size)
        return size >= len(whole)

    watcher(tmp_path / "in", tmp_path / "out").run(stopped=stopped)
    assert rows(tmp_path / "out") == []
    assert len(looks) > 5
    watcher(tmp_path / "in", tmp_path / "out").run(once=True)
    assert rows(tmp_path / "out") == [("slow.png", "0", "ok")]


def test_a_file_that_cannot_be_read_is_waited_for_and_has_a_row_in_the_end(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "cut.png").write_bytes(cv2.imencode(".png", textured(0))[1].tobytes()[:3000])
    start = time.monotonic()
    watcher(tmp_path / "in", tmp_path / "out").run(once=True)
    assert rows(tmp_path / "out") == [("cut.png", "0", "unreadable")]
    assert time.monotonic() - start > 5 * SETTLE


class Killed(BaseException):
    """Stands for the end of the process."""


def test_after_an_interruption_no_row_is_missing_and_none_is_double(tmp_path: Path) -> None:
    write_frames(tmp_path / "in", 12)

    def kill_at_third(result: Result) -> None:
        if result.source == "003.png":
            raise Killed

    with pytest.raises(Killed):
        watcher(tmp_path / "in", tmp_path / "out", on_row=kill_at_third).run(once=True)
    assert len(rows(tmp_path / "out")) == 4
    watcher(tmp_path / "in", tmp_path / "out").run(once=True)
    assert rows(tmp_path / "out") == [(f"{number:03}.png", "0", "ok") for number in range(12)]


def test_a_cine_that_comes_has_its_trace_and_one_that_was_missed_gets_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        save_video(tmp_path / "in" / f"{name}.avi", [textured(number) for number in range(4)])
        watcher(tmp_path / "in", tmp_path / "out").run(once=True)
    cines = tmp_path / "out" / "cine"
    assert [line.split(",")[0] for line in (cines / "summary.csv").read_text().splitlines()[1:]] == ["a.avi", "b.avi"]
    before = (cines / "b@avi.html").stat().st_mtime_ns
    for end in ("csv", "svg", "html"):
        (cines / f"a@avi.{end}").unlink()
    write_frames(tmp_path / "in", 1)
    watcher(tmp_path / "in", tmp_path / "out").run(once=True)
    assert len((cines / "a@avi.csv").read_text().splitlines()) == 5
    assert (cines / "a@avi.html").is_file()
    assert (cines / "b@avi.html").stat().st_mtime_ns == before


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_kill_9_loses_nothing(tmp_path: Path) -> None:
    write_frames(tmp_path / "in", 30)
    code = (
        "import sys; from pathlib import Path; from tests.clinic.test_watching import watcher; "
        "watcher(Path(sys.argv[1]), Path(sys.argv[2]), overlay=True).run()"
    )
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path / "in", tmp_path / "out"], cwd=root)
    table, end = tmp_path / "out" / "results.csv", time.monotonic() + 60
    while time.monotonic() < end and not (table.exists() and len(table.read_bytes().splitlines()) > 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    watcher(tmp_path / "in", tmp_path / "out", overlay=True).run(once=True)
    assert rows(tmp_path / "out") == [(f"{number:03}.png", "0", "ok") for number in range(30)]
    assert len(list((tmp_path / "out" / "overlays").glob("*.png"))) == 30


def test_a_full_disk_is_said_once_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_frames(tmp_path / "in", 2)
    fails, said = iter([True, True, False]), list[str]()
    from aop_pose.measuring import folder

    draw = folder.write_overlay

    def full(path: Path, picture: np.ndarray) -> None:
        if next(fails, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        draw(path, picture)

    monkeypatch.setattr(folder, "write_overlay", full)
    watcher(tmp_path / "in", tmp_path / "out", overlay=True, on_trouble=said.append).run(once=True)
    assert len(rows(tmp_path / "out")) == 2
    assert len(said) == 1
    assert said[0] == f"{tmp_path / 'out'}: {os.strerror(errno.ENOSPC)}; trying again"


def test_one_process_writes_to_a_folder_and_only_to_its_own(tmp_path: Path) -> None:
    write_frames(tmp_path / "in", 1)

    def second(result: Result) -> None:
        with pytest.raises(UsageError, match="another run is writing"):
            watcher(tmp_path / "in", tmp_path / "out").run(once=True)

    watcher(tmp_path / "in", tmp_path / "out", on_row=second).run(once=True)
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="holds the beginning of another run"):
        watcher(tmp_path / "other", tmp_path / "out").run(once=True)
    with pytest.raises(UsageError, match="lies in the watched folder"):
        watcher(tmp_path / "in", tmp_path / "in" / "out").run(once=True)
    with pytest.raises(UsageError, match="expected a folder to watch"):
        watcher(tmp_path / "nothing", tmp_path / "x").run(once=True)


def test_dicom_files_are_named_by_their_hash_and_copies_have_one_row(tmp_path: Path) -> None:
    files = pytest.importorskip("tests.dicom_files", reason="needs the extra dicom")
    from aop_pose.io.clinic.study import Salt

    path = files.save(tmp_path / "in" / "XMARKX", files.marked(files.dataset(textured(0))))
    watcher(tmp_path / "in", tmp_path / "out").run(once=True)
    (tmp_path / "in" / "again_XMARKX").write_bytes(path.read_bytes())
    watcher(tmp_path / "in", tmp_path / "out").run(once=True)
    assert rows(tmp_path / "out") == [(Salt.of(tmp_path / "out").name(files.UID_ROOT + "991"), "0", "ok")]
    assert files.marked_leaks(tmp_path / "out") == []
