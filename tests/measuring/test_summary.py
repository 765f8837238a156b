"""The summary of a run, and its contact sheets."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from aop_pose.core.schemas.aop import AOP
from aop_pose.core.schemas.head import HEAD
from aop_pose.draw.frame import overlay_name, write_overlay
from aop_pose.io.discover import discover
from aop_pose.measuring import summary as module
from aop_pose.measuring.summary import ContactSheets, Spread, Summary, in_words, summarise

HEADER = "source,index,status,reason,aop_deg\n"


def table(folder, *rows, header=HEADER):
    folder.mkdir(exist_ok=True)
    (folder / "results.csv").write_text(header + "".join(f"{row}\n" for row in rows))
    return folder


def drawn(folder, count):
    rows = [f"{number:03d}.png,0,ok,,100" for number in range(count)]
    for number in range(count):
        write_overlay(folder / "overlays" / overlay_name(f"{number:03d}.png", 0), np.full((40, 40, 3), 9, np.uint8))
    return table(folder, *rows)


def write_contact_sheets(folder):
    sheets = ContactSheets(folder)
    sheets.read()
    return sheets.finish()


def test_the_median_and_the_range_are_those_of_the_measured_frames(tmp_path):
    rows = ["a.png,0,ok,,100", "b.png,0,ok,,130", "c.png,0,ok,,104", "d.png,0,abstained,withheld: dark,"]
    found = summarise(table(tmp_path, *rows), AOP, 2, "frames", ())
    quantity = AOP.quantities[0]
    assert found == Summary(
        {"ok": 3, "abstained": 1}, 2, "frames", (), Spread(quantity, 3, 104.0, 100.0, 130.0), (("withheld: dark", 1),)
    )
    assert found.rows == 4


def test_reasons_that_differ_in_their_numbers_alone_are_one(tmp_path):
    rows = [f"{n}.png,0,abstained,withheld: dark (trust 0.{n}; needed 0.7)," for n in range(3)]
    rows += ["a.png,0,unreadable,no picture,", "b.png,0,abstained,b,", "c.png,0,abstained,c,", "d.png,0,abstained,c,"]
    found = summarise(table(tmp_path, *rows), AOP, 0, "frames", ())
    assert found.reasons == (("withheld: dark", 3), ("c", 2), ("no picture", 1))
    assert found.spread is None


def test_numbers_of_one_frame_part_no_reasons_wherever_they_stand(tmp_path):
    ends = "; or the picture is mirrored or turned"
    rows = [f'{n}.png,0,abstained,"no anatomy found (best score 0.0{n}, needed 0.1){ends}",' for n in range(4)]
    rows += [f'b{n}.png,0,abstained,"two images, give --region: {n},2,3,4 or 5,{n},7,8",' for n in range(2)]
    found = summarise(table(tmp_path, *rows), AOP, 0, "frames", ())
    assert found.reasons == (
        (f"no anatomy found{ends}", 4),
        ("two images, give --region: X,Y,W,H or X,Y,W,H", 2),
    )


@pytest.mark.parametrize(("row", "column"), [("a.png,0,ok,,300,", "hc_px"), ("a.png,0,ok,,300,210", "hc_mm")])
def test_a_length_is_in_millimetres_where_they_are_known(tmp_path, row, column):
    header = "source,index,status,reason,hc_px,hc_mm\n"
    found = summarise(table(tmp_path, row, header=header), HEAD, 0, "frames", ())
    assert found.spread.quantity.column == column


def test_contact_sheets_hold_every_overlay_and_replace_older_ones(tmp_path):
    drawn(tmp_path, 2 * module.TILES + 1)
    sheets = write_contact_sheets(tmp_path)
    assert [sheet.name for sheet in sheets] == ["contact_sheet.png", "contact_sheet-2.png", "contact_sheet-3.png"]
    assert cv2.imread(str(sheets[0])).shape == (6 * 366 + 6, 4 * 366 + 6, 3)
    assert cv2.imread(str(sheets[2])).shape == (366 + 6, 366 + 6, 3)
    table(tmp_path, "000.png,0,ok,,100", "broken.png,0,unreadable,no picture,")
    assert [sheet.name for sheet in write_contact_sheets(tmp_path)] == ["contact_sheet.png"]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["contact_sheet.png"]


def test_an_archive_gets_no_endless_row_of_sheets(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TILES", 1)
    drawn(tmp_path, module.MOST_SHEETS + 1)
    assert len(write_contact_sheets(tmp_path)) == module.MOST_SHEETS


def test_contact_sheets_are_not_taken_for_frames(tmp_path):
    drawn(tmp_path, module.TILES + 1)
    write_contact_sheets(tmp_path)
    write_overlay(tmp_path / "frame.png", np.zeros((40, 40, 3), np.uint8))
    assert [entry.source for entry in discover([str(tmp_path)]).entries] == ["frame.png"]


@pytest.mark.parametrize("word", ["frames", "volumes"])
def test_where_nothing_is_measured_a_page_that_exists_is_named(word):
    *_, last = in_words(Summary({"abstained": 2}, 0, word, reasons=(("withheld: dark", 2),)), Path("out"))
    page = f"docs/{word}.md"
    assert last == f"next: look at the pictures; {page} says what each reason means, and what to do"
    assert "withheld" in (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    assert not any(line.startswith("next:") for line in in_words(Summary({"unreadable": 1}, 0, word), Path("out")))
