"""Names that no system has and numbers that Python does not read, in tables and data.yaml: one line."""

import numpy as np
import pytest
from PIL import Image

from aop_pose.errors import UsageError
from aop_pose.formats.csv_rows import can_be_a_name, read_list
from aop_pose.formats.registry import check
from aop_pose.formats.yolo.data_yaml import read_data_yaml, yolo_pictures

ODD = ["a" * 3000 + ".png", "a\0.png", "x/" * 2000 + "a.png", "é" * 200 + ".png"]


@pytest.mark.parametrize("name", ODD)
def test_a_name_that_no_system_has_is_a_finding_of_its_row(tmp_path, name):
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(tmp_path / "b.png")
    points = '"(1, 2)","(30, 4)","(25, 30)"'
    (tmp_path / "labels.csv").write_text(f"Filename,PS1,PS2,FH1\nb.png,{points}\n{name},{points}\n", encoding="utf-8")
    (finding,) = check(tmp_path / "labels.csv").findings
    assert "labels.csv:3: Filename: expected a file name" in str(finding)
    (tmp_path / "list.txt").write_text(f"b.png\n{name}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"list.txt:2: Filename: expected a file name"):
        read_list(tmp_path / "list.txt")


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("key", ["train", "path"])
def test_such_a_name_in_a_data_yaml_is_one_line(tmp_path, name, key):
    quoted = '"' + name.replace("\0", "\\0") + '"'
    (tmp_path / "data.yaml").write_text(
        f"{key}: {quoted}\n{'train: images' if key == 'path' else ''}\nkpt_shape: [3, 3]\nnames: [aop]\n",
        encoding="utf-8",
    )
    with pytest.raises(UsageError, match=rf"data.yaml: {key}: expected a "):
        list(yolo_pictures(tmp_path, read_data_yaml(tmp_path)))


@pytest.mark.parametrize("text", ["kpt_shape: " + "1" * 5000, "names: " + "[" * 3000, "train: \xff", "a: *b"])
def test_yaml_that_is_not_read_is_one_line(tmp_path, text):
    (tmp_path / "data.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"data.yaml: expected YAML, found"):
        read_data_yaml(tmp_path)


def test_usual_names_can_be_names():
    assert all(map(can_be_a_name, ("a.png", "a/b c/d.png", "é" * 100, "x" * 255, "..", "a\nb")))
    assert not any(map(can_be_a_name, ODD))
