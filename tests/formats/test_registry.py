"""One list of formats: what is registered is read, written and checked by name; nothing is registered twice."""

import numpy as np
import pytest

from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.formats import registry
from aop_pose.formats.convert import convert
from aop_pose.formats.csv_rows import number
from aop_pose.formats.format import TableFormat
from aop_pose.formats.iugc import IUGC
from aop_pose.formats.label import check_below, find_picture
from tests.formats.made_up import iugc_folder, picture, save


class Flat(TableFormat):
    """A toy: six numbers a row."""

    name, kind, schema = "flat", "points", AOP
    looks_for = "a CSV with Filename,a,b,c,d,e,f"
    columns = ("Filename", *"abcdef")

    def coords(self, row, schema):
        return np.array([number(row.cells[column], column) for column in "abcdef"]).reshape(3, 2)

    def cells(self, label):
        return [f"{value:g}" for value in label.points.ravel()]


@pytest.fixture
def flat(monkeypatch):
    monkeypatch.setattr(registry, "FORMATS", dict(registry.FORMATS))
    registry.register(Flat())


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="format iugc: expected a name that is free"):
        registry.register(IUGC)


def test_a_registered_format_is_written_read_and_checked(tmp_path, flat):
    convert(iugc_folder(tmp_path / "src"), tmp_path / "flat", "flat")
    assert (tmp_path / "flat" / "labels.csv").read_text().splitlines()[1] == "00.png,30,10,10,10,30,20"
    assert registry.check(tmp_path / "flat").findings == []
    assert [label.points[2, 1] for label in registry.read_labels(tmp_path / "flat")] == [20, 21, 22, 23]
    assert convert(tmp_path / "flat", tmp_path / "back", "iugc").source_format == "flat"


def test_the_help_names_every_format():
    from aop_pose.cli.dataset import app

    (command,) = [one for one in app.registered_commands if one.name == "convert"]
    texts = " ".join(str(one) for one in command.callback.__annotations__.values())
    assert [name for name in registry.FORMATS if name not in texts] == []


@pytest.mark.parametrize(
    "name", ["../a.png", "x/../../a.png", "/etc/passwd", "..\\a.png", "C:\\a.png", "\\\\host\\a", "a\0b"]
)
def test_a_name_that_leads_out_is_refused(name):
    with pytest.raises(UsageError, match=r"leads out of it|NUL"):
        check_below(name)


def test_a_link_out_of_the_data_folder_is_refused_and_one_inside_is_not(tmp_path):
    inside = save(tmp_path / "data" / "a.png", picture(0))
    outside = save(tmp_path / "b.png", picture(1))
    (tmp_path / "data" / "in.png").symlink_to(inside)
    (tmp_path / "data" / "out.png").symlink_to(outside)
    assert find_picture(tmp_path / "data", "in.png").name == "in.png"
    with pytest.raises(UsageError, match=r"found out\.png, a link that leads out of it"):
        find_picture(tmp_path / "data", "out.png")
