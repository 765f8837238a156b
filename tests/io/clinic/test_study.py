"""DICOMDIRs, zips and folders of a study become files; the names of a run say nothing of a patient."""

import gc
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom.fileset import FileSet

from aop_pose.errors import UnreadableError
from aop_pose.io.clinic.dicom import quiet
from aop_pose.io.clinic.study import About, Salt, about, expand, renamed, zip_members
from aop_pose.io.discover import Entry, discover
from aop_pose.io.images import read_frames
from tests.dicom_files import PREFIX, dataset, pydicom, region, save

GRAY = np.random.default_rng(0).integers(0, 255, (40, 50), dtype=np.uint8)


def study(folder: Path, count: int = 3) -> Path:
    """Files as an export has them: folders by number, no suffix."""
    for number in range(count):
        made = dataset(np.roll(GRAY, number, axis=1), sop=f"1.{number}", PatientName="A^B", PatientID="1")
        made.AccessionNumber = made.StudyID = "1"
        made.StudyDate, made.StudyTime, made.SeriesNumber, made.InstanceNumber = "20260102", "1010", 1, number + 1
        save(folder / "00000001" / f"0000000{number}", made)
    return folder


def disc(folder: Path, paths: list[Path]) -> None:
    """Files with a DICOMDIR, as a writer of discs leaves them."""
    # The library leaves a folder for temporary files to the garbage collector, which complains.
    with quiet():
        files = FileSet()
        for path in paths:
            files.add(path)
        files.write(folder)
        del files
        gc.collect()


def read(entries: list[Entry]) -> list[np.ndarray]:
    return [frame.pixels for entry in entries for frame in read_frames(entry)]


def test_files_are_known_by_their_first_bytes_in_folders_and_patterns(tmp_path: Path) -> None:
    study(tmp_path / "a")
    (tmp_path / "a" / "readme").write_text("no picture")
    (tmp_path / "a" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    found = discover([tmp_path / "a"])
    assert [entry.source for entry in found.entries] == [f"00000001/0000000{number}" for number in range(3)]
    assert found.ignored == 2
    assert len(discover([str(tmp_path / "a" / "*" / "*1")]).entries) == 1
    assert len(read(found.entries)) == 3


def test_a_directory_of_files_is_followed(tmp_path: Path) -> None:
    study(tmp_path / "a")
    disc(tmp_path / "disc", sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file()))
    entries = expand(discover([tmp_path / "disc" / "DICOMDIR"]).entries)
    assert len(entries) == 3
    np.testing.assert_array_equal(read(entries)[2], np.roll(GRAY, 2, axis=1))


def test_a_directory_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    study(tmp_path / "a")
    disc(tmp_path / "disc", [tmp_path / "a" / "00000001" / "00000000"])
    listed = pydicom.dcmread(tmp_path / "disc" / "DICOMDIR")
    for record in listed.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            with quiet():
                record.ReferencedFileID = ["..", "a", "00000001", "00000000"]
    with quiet():
        listed.save_as(tmp_path / "disc" / "DICOMDIR")
    entries = expand(discover([tmp_path / "disc" / "DICOMDIR"]).entries)
    assert [entry.path.name for entry in entries] == ["DICOMDIR"]
    with pytest.raises(UnreadableError, match="a DICOMDIR that names a file outside"):
        read(entries)


def zipped(path: Path, folder: Path, names: dict[str, Path] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
        for name, file in (names or {}).items():
            # As another program writes it: the library's own writing drops what leads out.
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, file.read_bytes())
    return path


def test_a_zip_of_a_study_is_read_without_unpacking_it(tmp_path: Path) -> None:
    study(tmp_path / "a")
    (tmp_path / "a" / "viewer.exe").write_bytes(b"MZ")
    (tmp_path / "in").mkdir()
    path = zipped(tmp_path / "in" / "study.zip", tmp_path / "a")
    entries = expand(discover([path.parent]).entries)
    assert [entry.source for entry in entries] == [f"study.zip/00000001/0000000{number}" for number in range(3)]
    np.testing.assert_array_equal(read(entries)[1], np.roll(GRAY, 1, axis=1))
    assert sorted(file.name for file in path.parent.iterdir()) == ["study.zip"]


def test_a_zip_with_a_name_that_leads_out_of_it_is_refused_whole(tmp_path: Path) -> None:
    study(tmp_path / "a")
    for number, name in enumerate(("../evil", "/etc/evil", "x/../../evil", "..\\evil", "C:/evil")):
        path = zipped(tmp_path / f"{number}.zip", tmp_path / "a", {name: tmp_path / "a" / "00000001" / "00000000"})
        with pytest.raises(UnreadableError, match="leads out of it"):
            zip_members(path)
        with pytest.raises(UnreadableError, match="leads out of it"):
            read(expand(discover([path]).entries))


def test_other_zips_are_passed_over_in_folders_and_say_why_by_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("x")
    zipped(tmp_path / "x.zip", tmp_path / "a")
    (tmp_path / "broken.zip").write_bytes(b"PK\3\4broken")
    assert discover([tmp_path]).entries == []
    with pytest.raises(UnreadableError, match="a zip without DICOM files"):
        read(expand(discover([tmp_path / "x.zip"]).entries))
    with pytest.raises(UnreadableError, match="a zip that cannot be opened"):
        read(expand(discover([tmp_path / "broken.zip"]).entries))


def test_facts_of_a_file_are_its_uid_and_whether_it_states_millimetres(tmp_path: Path) -> None:
    spaced = save(tmp_path / "a", dataset(GRAY, regions=[region((0, 0, 49, 39))], sop="5"))
    assert about(Entry(spaced, "a")) == About(PREFIX + "5", True)
    plain = save(tmp_path / "b", dataset(GRAY, sop="6"))
    assert about(Entry(plain, "b")) == About(PREFIX + "6", False)
    plain.write_bytes(plain.read_bytes()[:140])
    assert about(Entry(plain, "b")) == About()


def test_names_need_the_salt_and_are_the_same_with_it(tmp_path: Path) -> None:
    salt = Salt.of(tmp_path)
    salt.keep(tmp_path)
    assert stat.S_IMODE((tmp_path / ".salt").stat().st_mode) == 0o600
    assert Salt.of(tmp_path) == salt
    assert Salt.of(tmp_path / "other").name("1.2.3") != salt.name("1.2.3")
    assert len(salt.name("1.2.3")) == 20
    assert "salt" not in repr(salt).lower().replace("salt", "", 1)


def test_files_of_patients_are_renamed_and_others_are_not(tmp_path: Path) -> None:
    salt = Salt.of(tmp_path)
    first = save(tmp_path / "Miller_1980.dcm", dataset(GRAY, sop="5"))
    copy = tmp_path / "copy"
    copy.write_bytes(first.read_bytes())
    (tmp_path / "x.png").write_bytes(b"")
    (tmp_path / "Broken_Miller.dcm").write_bytes(b"")
    entries = [Entry(tmp_path / name, name) for name in ("Miller_1980.dcm", "copy", "x.png", "Broken_Miller.dcm")]
    names = [entry.source for entry in renamed(entries, [about(entry) for entry in entries], salt)]
    stem = salt.name(PREFIX + "5")
    assert names[:3] == [stem, f"{stem}~2", "x.png"]
    assert len(names[3]) == 20


def test_a_damaged_part_of_a_zip_has_a_row_and_the_others_are_read(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.dcm", dataset(GRAY))
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(plain, "first")
        archive.write(plain, "second")
        start = archive.getinfo("first").header_offset + len("first") + 30
    packed = bytearray((tmp_path / "study.zip").read_bytes())
    packed[start : start + 40] = b"\xff" * 40
    (tmp_path / "study.zip").write_bytes(packed)
    first, second = expand(discover([tmp_path / "study.zip"]).entries)
    with pytest.raises(UnreadableError, match="damaged: a part of the zip cannot be unpacked"):
        list(read_frames(first))
    (frame,) = read_frames(second)
    assert (frame.pixels == GRAY).all()
