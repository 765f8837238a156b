"""What the tests of several tools share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory) -> Path:
    """A folder of phantoms laid out as psfhs is."""
    from ablation_data import write_rehearsal

    folder = tmp_path_factory.mktemp("rehearsal") / "data"
    write_rehearsal(folder, labelled=8, unlabelled=8, val=4)
    return folder
