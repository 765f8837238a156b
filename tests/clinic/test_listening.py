"""A DICOM node: what DCMTK's senders bring is kept and measured; who is not named is turned away."""

import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from aop_pose.cli.main import run
from aop_pose.clinic.incoming import Listener, Sender, Watcher, is_loopback
from aop_pose.errors import UsageError
from aop_pose.io.table import read_results
from tests.dicom_files import dataset, marked, marked_leaks, pydicom, save
from tests.fakes import fake_predictor, textured

pytest.importorskip("pynetdicom", reason="receiving needs the extra dicom")


def dcmtk(name: str) -> str:
    """The program of DCMTK: pynetdicom installs others of the same names."""
    path = shutil.which(name, path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if path is None:
        pytest.skip(f"needs DCMTK's {name}")
    return path


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def send(name: str, port: int, *arguments: object, called: str = "AOPPOSE", calling: str = "US1") -> int:
    command = [dcmtk(name), "-aec", called, "-aet", calling, "127.0.0.1", str(port), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode


def test_what_is_sent_is_kept_under_a_hash_and_measured(tmp_path: Path) -> None:
    source = save(tmp_path / "XMARKX", marked(dataset(textured(0))))
    names: list[str] = []
    listener = Listener(tmp_path / "ward", port=free_port(), on_file=names.append)
    with listener.serving() as port:
        assert send("echoscu", port) == 0
        assert send("storescu", port, source) == 0
        assert send("storescu", port, source) == 0
    (kept,) = listener.incoming.iterdir()
    assert kept.stem == names[0] == names[1]
    assert stat.S_IMODE(listener.incoming.stat().st_mode) == 0o700
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    Watcher(fake_predictor(), listener.incoming, tmp_path / "ward" / "results", settle=0.05).run(once=True)
    (row,) = read_results(tmp_path / "ward" / "results" / "results.csv")
    assert (row["source"], row["status"]) == (names[0], "ok")
    assert marked_leaks(tmp_path / "ward" / "results") == []


def test_senders_and_titles_that_are_not_named_are_turned_away(tmp_path: Path) -> None:
    source = save(tmp_path / "a", dataset(textured(0)))
    listener = Listener(tmp_path / "ward", port=free_port(), title="WARD", callers=("US1", "US2"))
    with listener.serving() as port:
        assert send("storescu", port, source, called="WARD", calling="US2") == 0
        assert send("storescu", port, source, called="WARD", calling="EVIL") != 0
        assert send("storescu", port, source, called="OTHER") != 0
        assert send("echoscu", port, called="WARD", calling="EVIL") != 0
    assert len(list(listener.incoming.iterdir())) == 1


def test_a_full_disk_is_answered_as_out_of_resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save(tmp_path / "a", dataset(textured(0)))
    listener = Listener(tmp_path / "ward", port=free_port())

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, os.strerror(28))

    with listener.serving() as port:
        monkeypatch.setattr(Path, "write_bytes", full)
        assert send("storescu", port, source) != 0
        monkeypatch.undo()
    assert list(listener.incoming.iterdir()) == []


@contextmanager
def archive(folder: Path, port: int) -> Iterator[None]:
    """DCMTK's receiver, which keeps what it gets."""
    folder.mkdir()
    command = [dcmtk("storescp"), "-aet", "ARCHIVE", "-od", str(folder), str(port)]
    peer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield
    finally:
        peer.terminate()
        peer.wait(10)


def test_reports_are_handed_on_once_and_again_after_the_other_node_was_away(tmp_path: Path) -> None:
    study = {"PatientName": "A^B", "PatientID": "1", "StudyDate": "20260102", "StudyTime": "10", "PatientSex": "F"}
    incoming, results, port = tmp_path / "in", tmp_path / "out", free_port()
    save(incoming / "a", dataset(textured(0), **study))
    said: list[str] = []
    counts: list[int] = []

    def node() -> Sender:
        return Sender.to(f"ARCHIVE@127.0.0.1:{port}", incoming, results, "WARD")

    sender = node()
    watcher = Watcher(
        fake_predictor(), incoming, results, settle=0.05, on_trouble=said.append,
        on_look=lambda: counts.append(sender.send()),
    )  # fmt: skip
    watcher.run(stopped=lambda: bool(said))
    assert said[0].startswith(f"--send-to: ARCHIVE@127.0.0.1:{port} does not answer")
    with archive(tmp_path / "archive", port):
        watcher.run(once=True)
        assert sum(counts) == 1
        assert node().send() == 0
    kinds = {pydicom.dcmread(path).SOPClassUID.name for path in (tmp_path / "archive").iterdir()}
    assert kinds == {"Comprehensive SR Storage", "Secondary Capture Image Storage"}


@pytest.mark.parametrize("address", ["ARCHIVE", "A@host", "A@host:x", "@host:1", "A@:1", "A@host:99999"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match=r"expected (an )?AE"):
        Sender.to(address, Path("x"), Path("y"), "WARD")


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert run(["listen", "--out", str(tmp_path / "ward"), "--port", port]) == 2
    assert f"--port: {port} is taken by another program" in capsys.readouterr().err


def test_only_loopback_is_quiet() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("ward.example")
    assert Listener(Path("x")).host == "127.0.0.1"


def test_listening_to_other_machines_is_said_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Watcher, "run", lambda self: None)
    out = ["listen", "--out", str(tmp_path / "ward"), "--port", str(free_port())]
    assert run(out) == 0
    assert "OPEN" not in capsys.readouterr().err
    assert run([*out, "--host", "0.0.0.0"]) == 0
    assert "OPEN TO OTHER MACHINES: 0.0.0.0:" in capsys.readouterr().err


@pytest.mark.parametrize("title", ["", "  ", "SEVENTEEN_LETTERS", "back\\slash", "tab\t"])
def test_a_title_that_no_node_can_have_is_refused(title: str) -> None:
    with pytest.raises(UsageError, match="expected an AE title"):
        Listener(Path("x"), title=title)
