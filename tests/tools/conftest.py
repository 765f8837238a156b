"""Tools are scripts, not a package: their folder is put on the path, as ``python tools/NAME.py`` does."""

import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory) -> Path:
    """A folder of phantoms laid out as psfhs is."""
    from ablation_data import write_rehearsal

    folder = tmp_path_factory.mktemp("rehearsal") / "data"
    write_rehearsal(folder, labelled=8, unlabelled=8, val=4)
    return folder
