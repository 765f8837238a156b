"""What files are that are no frames: said where a run finds none."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aop_pose.io.kinds import kind_of, what_is_there
from tests.volume_files import nifti


@pytest.mark.parametrize(
    ("name", "start", "kind"),
    [
        ("a", bytes(128) + b"DICM", "DICOM file"),
        ("IM000001", bytes(128) + b"DICM" + bytes(500), "DICOM file"),
        ("a.dcm", b"anything", "DICOM file"),
        ("a.avi", b"RIFF\0\0\0\0AVI LIST", "AVI video"),
        ("a.bin", b"RIFF\0\0\0\0AVI LIST", "AVI video"),
        ("a.dat", b"\0\0\0\x20ftypisom", "MP4 video"),
        ("a.mp4", b"", "MP4 video"),
        ("a.mov", b"\0\0\0\x14ftypqt  ", "MOV video"),
        ("a.nii.gz", b"\x1f\x8b", "NIfTI volume"),
        ("a.nrrd", b"NRRD0004", "NRRD volume"),
        ("a.webp", b"RIFF\0\0\0\0WEBPVP8 ", "WebP picture"),
        ("frames.zip", b"PK\3\4", "ZIP archive"),
        ("notes.txt", b"hello", ""),
        ("a.png", b"\x89PNG", ""),
    ],
)
def test_a_file_is_named_by_its_first_bytes_or_its_suffix(tmp_path: Path, name: str, start: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(start)
    assert kind_of(tmp_path / name) == kind


def test_a_folder_without_frames_says_what_is_in_it_and_what_to_do(tmp_path: Path) -> None:
    assert what_is_there([tmp_path]) == ""
    for number in range(3):
        (tmp_path / f"IM{number}").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "cine.mkv").touch()
    (tmp_path / "._cine.mkv").touch()
    assert what_is_there([tmp_path]) == (
        "3 DICOM files, 1 MKV or WebM video; frames need the --weights of another method than fetusmap; "
        "save a video as AVI, MP4 or MOV"
    )


def test_frames_are_said_where_volumes_were_wanted(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    assert (
        what_is_there([tmp_path])
        == "1 NIfTI volume; volumes need --schema fetal_face, or --weights of --method fetusmap"
    )
    assert what_is_there([tmp_path / "*.png"], frames=True).startswith("1 frame; frames need the --weights of another")


def test_a_pipe_is_not_waited_on(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert what_is_there([tmp_path]) == ""
