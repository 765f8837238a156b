"""The folder a run writes: whose it is, and what is removed from it."""

import os
import subprocess
import sys

import pytest

from aop_pose.errors import UsageError
from aop_pose.io import folders
from aop_pose.io.files import replacing
from aop_pose.io.folders import DOCUMENT, LOCK, OVERLAYS, STARTED, TABLE, appearing, claim, is_drawn, locked

IDENTITY = {"model": "m@1", "sources": ["a"]}


def finished(out):
    (out / OVERLAYS).mkdir(parents=True)
    for name in (TABLE, DOCUMENT, f"{OVERLAYS}/stale.png"):
        (out / name).write_text("x")
    return out


def test_a_new_folder_is_made_and_taken_up_once_it_has_a_table(tmp_path):
    out = tmp_path / "a" / "out"
    assert claim(out, IDENTITY, overwrite=False) is False
    assert claim(out, IDENTITY, overwrite=False) is False
    (out / TABLE).touch()
    assert claim(out, IDENTITY, overwrite=False) is True
    with pytest.raises(UsageError, match=r"another run \(model was m@1\)"):
        claim(out, {**IDENTITY, "model": "m@2"}, overwrite=False)


@pytest.mark.parametrize("record", [None, "", "{", "[]", "\udcff"])
def test_a_beginning_without_its_record_is_nobodys(tmp_path, record):
    (tmp_path / TABLE).touch()
    if record is not None:
        (tmp_path / STARTED).write_bytes(record.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match="model was unknown"):
        claim(tmp_path, IDENTITY, overwrite=False)


def test_overwrite_removes_an_earlier_run_and_nothing_else(tmp_path):
    out = finished(tmp_path / "out")
    (out / "mine.png").touch()
    with pytest.raises(UsageError, match="finished"):
        claim(out, IDENTITY, overwrite=False)
    assert claim(out, IDENTITY, overwrite=True) is False
    assert sorted(os.listdir(out)) == [STARTED, "mine.png"]
    own = tmp_path / "own" / OVERLAYS
    own.mkdir(parents=True)
    (own / "mine.png").touch()
    claim(own.parent, IDENTITY, overwrite=True)
    assert (own / "mine.png").exists()


def test_overlays_go_before_the_table_that_tells_whose_they_are(tmp_path, monkeypatch):
    out = finished(tmp_path / "out")
    seen = []
    monkeypatch.setattr("shutil.rmtree", lambda path: seen.append(is_drawn(str(path))))
    claim(out, IDENTITY, overwrite=True)
    assert seen == [True]


def test_half_written_files_of_killed_runs_are_removed(tmp_path):
    kept = tmp_path / "sub" / ".x.png.12.tmp"
    for folder in (tmp_path, tmp_path / OVERLAYS, tmp_path / OVERLAYS / "s", kept.parent):
        folder.mkdir(exist_ok=True)
        with replacing(folder / "x.png") as temporary:
            temporary.touch()
            os.link(temporary, folder / ".x.png.12.tmp")
    claim(tmp_path, IDENTITY, overwrite=False)
    assert list(tmp_path.rglob(".*.tmp")) == [kept]
    assert len(list(tmp_path.rglob("x.png"))) == 4


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_what_is_no_folder_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--out"):
        claim(tmp_path / name, IDENTITY, overwrite=False)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    def refusing(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.write_text", refusing)
    with pytest.raises(UsageError, match="cannot be written: Permission denied"):
        claim(tmp_path, IDENTITY, overwrite=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no open file")
def test_a_lock_on_a_file_that_is_gone_holds_nothing_and_is_refused(monkeypatch, tmp_path):
    """The run before removes its lock between the opening of it here and the locking."""

    def late(descriptor):
        (tmp_path / LOCK).unlink()

    monkeypatch.setattr(folders, "lock", late)
    with pytest.raises(UsageError, match="another run has just written to"), locked(tmp_path):
        pass


def test_a_folder_is_free_again_and_keeps_no_lock(tmp_path):
    for _ in range(2):
        with locked(tmp_path / "out"):
            pass
    # It was made for the lock, and nothing was written into it.
    assert not (tmp_path / "out").exists()
    (tmp_path / "kept").mkdir()
    with locked(tmp_path / "kept"):
        pass
    assert list((tmp_path / "kept").iterdir()) == []


def test_what_killed_processes_left_of_a_data_set_goes_and_what_is_at_work_stays(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    stays = [f".set.{os.getppid()}.part", f".other.{gone.pid}.part"]
    for name in (f".set.{gone.pid}.part", f".set.{gone.pid}.old", *stays):
        (tmp_path / name / "images").mkdir(parents=True)
    with appearing(tmp_path / "set", overwrite=False) as part:
        (part / "labels.csv").touch()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(["set", *stays])
