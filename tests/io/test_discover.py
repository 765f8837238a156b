"""Which files are frames, and what they are called."""

import os
import time
from pathlib import Path

import pytest

from aop_pose.errors import UsageError
from aop_pose.io.discover import discover, files_below


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def sources(*given: str | Path) -> list[str]:
    return [entry.source for entry in discover(given).entries]


def test_folder_is_listed_recursively_sorted_with_posix_sources(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/2.JPG", "a/1.tiff", "a/c/3.mha", "z.gif", "y.Bmp", "x.jpeg", "w.tif", "v.mhd")
    found = discover([tmp_path])
    assert [entry.source for entry in found.entries] == [
        "a/1.tiff", "a/2.JPG", "a/c/3.mha", "b.png", "v.mhd", "w.tif", "x.jpeg", "y.Bmp", "z.gif",
    ]  # fmt: skip
    assert found.ignored == 0
    assert found.entries[0].path == tmp_path / "a/1.tiff"


def test_other_files_are_counted_hidden_ones_are_not(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "notes.txt", "sub/labels.csv", "noext", ".DS_Store", ".cache/x.png", ".hidden.png")
    found = discover([tmp_path])
    assert [entry.source for entry in found.entries] == ["a.png"]
    assert found.ignored == 3


def test_raw_beside_mhd_is_part_of_a_frame_and_otherwise_another_file(tmp_path: Path) -> None:
    assert discover([touch(tmp_path / "one", "a.mhd", "a.raw", "a.zraw")]).ignored == 0
    assert discover([touch(tmp_path / "two", "a.png", "a.raw")]).ignored == 1


def test_named_file_has_an_entry_whatever_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "deep/notes.txt", "deep/.hidden")
    assert sources(tmp_path / "deep/notes.txt", str(tmp_path / "deep/.hidden")) == ["notes.txt", ".hidden"]


def test_pattern_that_the_shell_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, "p1/a.png", "p2/b.png", "p2/c.txt", "q/d.png")
    found = discover([f"{tmp_path}/p*/*"])
    assert [entry.source for entry in found.entries] == ["p1/a.png", "p2/b.png"]
    assert found.ignored == 1
    assert sources(f"{tmp_path}/**/*.png") == ["p1/a.png", "p2/b.png", "q/d.png"]
    assert sources(f"{tmp_path}/p*") == ["p1/a.png", "p2/b.png"]
    assert sources(f"{tmp_path}/**") == ["p1/a.png", "p2/b.png", "q/d.png"]


def test_relative_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.png", "s/b.png")
    monkeypatch.chdir(tmp_path)
    assert sources("*.png") == ["a.png"]
    assert sources("s/*.png") == ["b.png"]
    assert sources(".") == ["a.png", "s/b.png"]


def test_existing_name_with_wildcard_characters_is_a_file(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].png", "a1.png")
    assert sources(tmp_path / "a[1].png") == ["a[1].png"]


@pytest.mark.parametrize("given", ["nothing.png", "nothing/", "*.nothing", "", "nul\0.png"])
def test_source_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="found n") as caught:
        discover([given])
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)


def test_folder_without_frames_is_left_to_the_caller(tmp_path: Path) -> None:
    found = discover([touch(tmp_path, "a.txt")])
    assert found.entries == []
    assert found.ignored == 1


def test_same_source_of_two_folders_gets_the_folder_in_front(tmp_path: Path) -> None:
    touch(tmp_path, "A/1.png", "A/2.png", "B/1.png", "B/3.png", "x/B/1.png")
    assert sources(tmp_path / "A", tmp_path / "B", tmp_path / "x/B") == [
        "1.png", "2.png", "B/1.png", "3.png", "x/B/1.png",
    ]  # fmt: skip


def test_same_file_named_twice_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, "A/1.png")
    assert sources(tmp_path / "A", tmp_path / "A/1.png", f"{tmp_path}/A/*.png") == ["1.png"]


def test_link_loops_end_and_linked_folders_are_followed_once(tmp_path: Path) -> None:
    data = touch(tmp_path / "data", "a/1.png")
    touch(tmp_path / "elsewhere", "2.png")
    (data / "a/up").symlink_to(data)
    (data / "again").symlink_to(data / "a")
    (data / "more").symlink_to(tmp_path / "elsewhere")
    (data / "self.png").symlink_to(data / "self.png")
    (data / "broken.png").symlink_to(data / "gone.png")
    assert sources(data) == ["a/1.png", "broken.png", "more/2.png", "self.png"]


def test_pictures_that_a_run_drew_are_no_frames(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "out/results.csv", "out/overlays/a.png", "out/overlays/s/b.png", "out/contact_sheet.png")
    assert sources(tmp_path) == ["a.png"]
    assert sources(f"{tmp_path}/**/*.png") == sources(f"{tmp_path}/**") == ["a.png"]
    assert sources(f"{tmp_path}/*") == ["a.png"]
    assert sources(f"{tmp_path}/out/*") == []
    # Asked for by name they are frames like others, and so is a folder of that name which no run made.
    assert sources(tmp_path / "out/overlays") == ["a.png", "s/b.png"]
    assert sources(touch(tmp_path / "other", "overlays/a.png")) == ["overlays/a.png"]


def test_folder_named_like_a_picture_is_a_folder(tmp_path: Path) -> None:
    assert sources(touch(tmp_path, "x.png/1.png")) == ["x.png/1.png"]


def test_folder_that_cannot_be_listed_becomes_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.png", "locked/b.png")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert sources(tmp_path) == ["a.png", "locked"]


def test_odd_names_become_one_printable_line(tmp_path: Path) -> None:
    (tmp_path / "a\nb.png").touch()
    with open(os.fsencode(tmp_path) + b"/c\xff.png", "wb"):
        pass
    (tmp_path / "d, é.png").touch()
    found = discover([tmp_path])
    assert [entry.source for entry in found.entries] == ["a\\x0ab.png", "c\\udcff.png", "d, é.png"]
    assert all(entry.path.exists() for entry in found.entries)


def test_a_large_folder_is_listed_quickly(tmp_path: Path) -> None:
    """500 files, since making more takes longer than the test is worth; 100,000 took 1.5 s on two busy cores."""
    for number in range(500):
        os.close(os.open(tmp_path / f"{number:06d}.png", os.O_CREAT))
    begin = time.perf_counter()
    assert len(discover([tmp_path]).entries) == 500
    assert time.perf_counter() - begin < 0.5


@pytest.mark.parametrize("pattern", ["", "*", "**", "**/*.png"])
def test_what_systems_leave_is_passed_over(tmp_path: Path, pattern: str) -> None:
    for name in ("a.png", "._a.png", ".hidden/b.png", "__MACOSX/c.png", "__MACOSX/deeper/d.png", "sub/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("Thumbs.db", "desktop.ini", "sub/.DS_Store"):
        (tmp_path / name).touch()
    found = discover([tmp_path / pattern if pattern else tmp_path])
    assert {entry.source for entry in found.entries} == {"a.png", "sub/e.png"}
    assert found.ignored == 0
    assert [path.name for path in files_below(tmp_path)] == ["a.png", "e.png"]


def test_what_is_named_has_an_entry_even_where_it_would_be_passed_over(tmp_path: Path) -> None:
    (tmp_path / "._a.png").touch()
    assert [entry.source for entry in discover([tmp_path / "._a.png"]).entries] == ["._a.png"]


def test_a_folder_below_a_hidden_one_is_searched_where_it_is_given(tmp_path: Path) -> None:
    (tmp_path / ".cache" / "data").mkdir(parents=True)
    (tmp_path / ".cache" / "data" / "a.png").touch()
    assert len(discover([tmp_path / ".cache" / "data"]).entries) == 1
    assert len(discover([str(tmp_path / ".cache" / "data" / "*.png")]).entries) == 1
    assert [path.name for path in files_below(tmp_path / ".cache" / "data")] == ["a.png"]
