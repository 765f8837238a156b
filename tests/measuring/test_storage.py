"""Frames behind addresses: fsspec's storage in memory stands for S3 and its like."""

import json
from pathlib import Path

import pytest

from aop_pose.errors import StorageError, UsageError
from aop_pose.inference.weights import load, shipped_phantoms
from aop_pose.io.discover import Discovery, Entry, discover
from aop_pose.measuring.ahead import at_hand
from aop_pose.measuring.folder import predict
from aop_pose.measuring.images import Volumes, of_list

fsspec = pytest.importorskip("fsspec")
FRAMES = sorted((shipped_phantoms() / "images").iterdir())[:3]


@pytest.fixture(name="ward")
def _ward():
    storage = fsspec.filesystem("memory")
    for file in FRAMES:
        storage.put_file(str(file), f"/ward/day/{file.name}")
    storage.pipe("/ward/broken.png", b"no picture")
    storage.pipe("/ward/.hidden.png", b"")
    storage.pipe("/ward/notes.txt", b"")
    yield storage
    storage.rm("/ward", recursive=True)


def copy_of(ward, folder: Path) -> Path:
    ward.get("/ward/", str(folder), recursive=True)
    return folder


def test_rows_are_those_of_the_same_folder_on_a_disk(ward, tmp_path):
    model = load("aop-fast", threads=1)
    there = predict(model, "memory://ward", tmp_path / "there", overlay=False)
    here = predict(model, copy_of(ward, tmp_path / "ward"), tmp_path / "here", overlay=False)
    assert there.counts == here.counts
    assert there.counts["unreadable"] == 1
    assert there.ignored == here.ignored == 1
    assert (tmp_path / "there/results.csv").read_bytes() == (tmp_path / "here/results.csv").read_bytes()
    assert json.loads((tmp_path / "there/results.json").read_text())["run"]["sources"] == ["memory://ward"]


def test_copies_come_in_order_and_go_again(ward):
    entries = discover(["memory://ward/day"]).entries
    copies = []
    for entry, one, file in zip(entries, at_hand(entries), FRAMES, strict=True):
        assert one.source == entry.source == file.name
        assert one.path.read_bytes() == file.read_bytes()
        assert one.path.suffix == file.suffix
        copies.append(one.path)
    assert not any(path.exists() or path.parent.parent.exists() for path in copies)


def test_lists_name_addresses_or_what_is_below_one(ward, tmp_path):
    names = tmp_path / "list.txt"
    names.write_text(f"memory://ward/day/{FRAMES[1].name}\nmemory://ward/gone.png\n")
    assert [entry.source for entry in of_list(names, []).entries] == [f"day/{FRAMES[1].name}", "gone.png"]
    names.write_text("day/x.png\n")
    assert of_list(names, ["memory://ward/"]).entries[0].absolute() == Entry("memory://ward/day/x.png", "day/x.png")
    names.write_text("../x.png\n")
    with pytest.raises(UsageError, match="leads out"):
        of_list(names, ["memory://ward"])


def test_a_file_that_is_gone_is_a_row_and_a_storage_that_is_gone_ends_the_run(ward, tmp_path, monkeypatch):
    (one,) = at_hand([Entry("memory://ward/gone.png", "gone.png")])
    assert not one.path.exists()
    ward.rm(f"/ward/day/{FRAMES[0].name}")
    model, entries = load("aop-fast", threads=1), discover(["memory://ward/day"]).entries

    def fails(*arguments):
        raise ConnectionError("no route")

    monkeypatch.setattr(type(ward), "get_file", fails)
    with pytest.raises(StorageError, match=r"cannot be fetched \(no route\); run again to continue"):
        predict(model, "memory://ward", tmp_path / "out", overlay=False)
    monkeypatch.undo()
    assert predict(model, "memory://ward", tmp_path / "out", overlay=False).rows == len(entries) + 1


def test_secrets_of_an_address_are_not_written_down():
    said = Discovery([], 0).said
    assert said("s3://key:word@bucket/a?token=1") == "s3://bucket/a"
    assert said("frames/a?b@c") == "frames/a?b@c"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("memory://nothing", "expected a file or a folder of the storage at memory://nothing, found nothing"),
        ("nosuch://key:word@x/y", "nosuch://x/y: Protocol not known"),
    ],
)
def test_what_cannot_be_listed_is_said_in_one_line(address, said):
    with pytest.raises(UsageError, match=said):
        discover([address])


def test_volumes_are_not_read_from_a_storage(ward):
    ward.pipe("/ward/head.nii.gz", b"x")
    with pytest.raises(UsageError, match="copy them here first"):
        Volumes(None).discover(["memory://ward"], Path("out"))
