"""A second look at a frame: by the network of the run, in the pixels of the frame, or a word that it is not at hand."""

import cv2
import numpy as np
import pytest

from aop_pose.cli.main import run
from aop_pose.core.frame import Frame
from aop_pose.core.results import points_of
from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.inference.weights import manifest, resolve
from aop_pose.io.table import read_results
from aop_pose.review.second import SecondLook
from aop_pose.review.session import Session
from tests.review.conftest import PHANTOMS
from tests.review.test_server import asked, served

FAST = next(entry.model_id for entry in manifest() if entry.name == "aop-fast")
PICTURE = PHANTOMS / "images" / "0000.png"


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run of the shipped network on a phantom, in a frame with a border."""
    folder = tmp_path_factory.mktemp("second")
    pixels = cv2.imread(str(PICTURE), cv2.IMREAD_GRAYSCALE)
    (folder / "frames").mkdir()
    cv2.imwrite(str(folder / "frames" / "a.png"), cv2.copyMakeBorder(pixels, 30, 10, 50, 20, cv2.BORDER_CONSTANT))
    wanted = ["--region", f"50,30,{pixels.shape[1]},{pixels.shape[0]}", "--no-gate", "--no-overlay"]
    assert run(["predict", str(folder / "frames"), "--out", str(folder / "results"), *wanted]) == 0
    return folder


def test_it_lies_near_the_first_and_is_another(measured):
    (row,) = read_results(measured / "results" / "results.csv")
    first = points_of(row, AOP, "")
    session = Session(measured / "results", "anna", measured / "frames")
    found = session.second(0)["second look"]
    again = np.array([found[name] for name in AOP.points])
    assert 0 < np.linalg.norm(again - first, axis=1).max() < 25
    with served(session) as address:
        code, said = asked(f"{address}frames/0/second")
        assert code == 200
        assert said["second look"] == {name: pytest.approx(at) for name, at in found.items()}


def test_a_network_that_is_not_at_hand_is_said():
    frame = Frame(cv2.imread(str(PICTURE), cv2.IMREAD_GRAYSCALE), None, "a.png")
    with pytest.raises(UsageError, match=r"mine@00000000 is not at hand .* --weights"):
        SecondLook("mine@00000000").of(frame, None)
    with pytest.raises(UsageError, match="expected mine@00000000, which measured these frames, found aop-fast@"):
        SecondLook("mine@00000000", str(resolve("aop-fast"))).of(frame, None)


def test_a_picture_without_anatomy_has_none():
    assert SecondLook(FAST).of(Frame(np.zeros((200, 200), np.uint8), None, "black.png"), None) is None
