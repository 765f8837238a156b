"""One flipped bit: a format with a checksum is never read with other pixels or in another place."""

from pathlib import Path

import flip_bits
import pytest


def test_no_checked_format_is_read_as_something_else_after_a_flip(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    found = {kind.name: flip_bits.outcomes(kind, 30, seed=7) for kind in flip_bits.kinds(tmp_path)}
    assert set(found) >= flip_bits.CHECKED
    for name, counts in found.items():
        assert sum(counts.values()) == 30
        if name in flip_bits.CHECKED:
            assert counts[flip_bits.OTHER] == 0, name
            assert counts[flip_bits.REFUSED] > 20, name
    # The others show that the test can fail.
    assert found["BMP"][flip_bits.OTHER] > 20


def test_the_document_names_what_is_checked() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "file-integrity.md").read_text(encoding="utf-8")
    rows = [row.split("|")[1:-1] for row in page.splitlines() if row.startswith("| ")][2:]
    said = {cells[0].strip(): cells[1].strip() for cells in rows if len(cells) == 5}
    assert {name for name, checked in said.items() if checked == "yes"} == flip_bits.CHECKED
    assert all(cells[4].strip() == "0" for cells in rows if len(cells) == 5 and cells[1].strip() == "yes")
