"""The page's answers, asked over HTTP: order, decisions, blindness, strangers, bad input, ten thousand frames."""

import csv
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from PIL import Image

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.results import Result
from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.io.clinic.study import Salt
from aop_pose.io.table import ResultsWriter
from aop_pose.review.server import bound
from aop_pose.review.session import Session
from tests.dicom_files import PREFIX, dataset, region, save

uvicorn = pytest.importorskip("uvicorn", reason="the extra review is not installed")
pytest.importorskip("fastapi", reason="the extra review is not installed")


@contextmanager
def served(session):
    """The address of a running server."""
    from aop_pose.review.server import app

    with session.log, bound(0) as made:
        made.listen()
        port = made.getsockname()[1]
        config = uvicorn.Config(app(session, "token", port), log_level="critical", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [made]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/token/"
        finally:
            server.should_exit = True
            thread.join()


def asked(address, sent=None, **headers):
    """Status and body, JSON where it is."""
    data = None if sent is None else sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    request = urllib.request.Request(address, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            code, text, about = answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            code, text, about = error.code, error.read(), error.headers
    return code, json.loads(text) if "json" in about["content-type"] else text


def decision(frame, **changes):
    keys = ("source", "index", "state", "points", "reason", "note", "saw")
    return {key: frame[key] for key in keys} | {"action": "move", "seconds": 1} | changes


def test_the_doubtful_come_first_and_the_unreadable_last(a_run):
    session = Session(a_run[0], "anna", a_run[1])
    order = [item.key[0] for item in session.items]
    assert order == ["0002.png", "0005.png", "0004.png", "0001.png", "0000.png", "0003.png"]
    assert session.items[1].why("°") == "± 10.0°"


def test_a_disagreement_with_the_labels_is_doubt(a_run):
    results, frames = a_run
    labels = results.parent / "labels.csv"
    rows = [["Filename", "PS1", "PS2", "FH1"], ["0000.png", "(60, 60)", "(30, 60)", "(60, 200)"]]
    with open(labels, "w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    session = Session(results, "anna", frames, labels)
    assert [item.key[0] for item in session.items][:2] == ["0002.png", "0000.png"]
    item = session.items[1]
    assert item.difference == pytest.approx(abs(item.value - 90), abs=1e-3)
    assert "from the label" in item.why("°")


def test_a_decision_is_kept_and_undone(a_run):
    session = Session(a_run[0], "anna", a_run[1])
    with served(session) as address:
        frame = asked(f"{address}frames/1")[1]
        moved = frame["points"] | {"PS1": [50.25, 60]}
        code, after = asked(f"{address}decisions", decision(frame, points=moved, state="accepted", action="accept"))
        assert (code, after["state"], after["points"]["PS1"]) == (200, "accepted", [50.25, 60])
        assert asked(f"{address}run")[1]["frames"][1][5] == "accepted"
        code, before = asked(f"{address}undo", b"")
        assert (before["place"], before["state"], before["points"]) == (1, "open", frame["points"])
        assert asked(f"{address}undo", b"") == (200, None)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"source": "nowhere.png"}, 404, "no frame nowhere.png"),
        ({"index": 7}, 404, "no frame 0005.png#7"),
        ({"state": "perfect"}, 422, "expected a decision"),
        ({"state": "rejected"}, 422, "a rejected frame needs a reason"),
        ({"action": "drop"}, 422, "expected accept, reject, move or note"),
        ({"points": {"PS1": [1, 2]}}, 422, "expected the points PS1, PS2, FH1"),
        ({"points": {"PS1": [1, 2], "PS2": None, "FH1": [9, 9]}, "state": "accepted"}, 422, "place PS2"),
        ({"points": {"PS1": [1, 2], "PS2": [-4, 2], "FH1": [9, 9]}}, 422, "PS2: expected a point inside"),
        ({"points": {"PS1": [1, 2], "PS2": [1, 2], "FH1": [9, 9]}, "state": "accepted"}, 422, "PS1 and PS2 apart"),
        ({"points": {"PS1": [1], "PS2": [1, 2], "FH1": [9, 9]}}, 422, "expected a decision"),
        ({"points": 3}, 422, "expected a decision"),
        ({"seconds": -1}, 422, "expected accept"),
    ],
)
def test_what_cannot_be_kept_is_said_and_not_written(a_run, changes, code, words):
    session = Session(a_run[0], "anna", a_run[1])
    with served(session) as address:
        frame = asked(f"{address}frames/1")[1]
        before = session.log.path.read_bytes()
        found, said = asked(f"{address}decisions", decision(frame, **changes))
        assert found == code
        assert words in said["error"]
        assert session.log.path.read_bytes() == before


def test_strangers_get_nothing(a_run):
    session = Session(a_run[0], "anna", a_run[1])
    with served(session) as address:
        assert asked(address)[0] == 200
        root = address.replace("token/", "")
        for path in ("", "run", "tokem/run", "token2/", "../etc/passwd"):
            assert asked(root + path)[0] == 403
        assert asked(f"{address}run", Host="evil.example")[0] == 403
        assert asked(f"{address}undo", b"", Origin="http://evil.example")[0] == 403
        assert asked(f"{address}session.py")[0] == 404
        assert asked(f"{address}..%2fsession.py")[0] in (403, 404)
        assert asked(f"{address}decisions", b"nonsense")[0] == 422
        assert asked(f"{address}decisions", b" " * 200_000)[0] == 422
        assert asked(f"{address}frames/99")[0] == 404
        assert asked(f"{address}frames/-1")[0] == 404
        with urllib.request.urlopen(address) as answer:
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_frame_that_cannot_be_read_says_so_and_may_be_rejected_alone(a_run):
    session = Session(a_run[0], "anna", a_run[1])
    with served(session) as address:
        frame = asked(f"{address}frames/5")[1]
        assert frame["trouble"]
        assert asked(f"{address}frames/5/picture")[0] == 404
        points = {"PS1": [1, 2], "PS2": [3, 4], "FH1": [5, 6]}
        said = asked(f"{address}decisions", decision(frame, points=points, state="accepted", action="accept"))
        assert (said[0], "cannot be seen" in said[1]["error"]) == (422, True)
        rejected = decision(frame, state="rejected", reason="damaged", action="reject")
        assert asked(f"{address}decisions", rejected)[0] == 200


def test_another_picture_of_the_same_name_is_not_shown(a_run):
    results, frames = a_run
    cv2.imwrite(str(frames / "0005.png"), np.zeros((80, 90), np.uint8))
    assert "another picture of this name" in session_frame(results, frames)["trouble"]


def test_nothing_is_measured_on_pixels_that_are_not_square(a_run):
    results, frames = a_run
    with Image.open(frames / "0005.png") as picture:
        picture.save(frames / "0005.png", dpi=(200, 100))
    assert "times as tall as wide" in session_frame(results, frames)["refusal"]
    assert session_frame(results, frames, 2)["refusal"] == ""


def session_frame(results, frames, place=1):
    session = Session(results, "anna", frames)
    with session.log:
        return session.frame(place)


def test_readers_are_blind_until_they_have_decided(a_run):
    results, frames = a_run
    with (ben := Session(results, "ben", frames)).log:
        sent = decision(ben.frame(1), state="accepted", action="accept")
        sent["points"] = sent["points"] | {"FH1": (99.0, 98.0)}
        ben.keep(sent, "t")
    session = Session(results, "anna", frames)
    with session.log:
        frame = session.frame(1)
        assert "99.0" not in json.dumps(frame)
        assert session.overview()["readers"] == {"ben": [1]}
        with pytest.raises(UsageError, match="once you have accepted or rejected"):
            session.others(1)
        session.keep(decision(frame, state="accepted", action="accept"), "t")
        assert session.others(1)["ben"]["FH1"] == (99.0, 98.0)


def a_study(tmp_path, **more):
    """(results, study) of a DICOM cine of two frames, measured under a name that says nothing."""
    study = tmp_path / "study"
    frames = np.stack([np.full((64, 96), 60, np.uint8), np.full((64, 96), 120, np.uint8)])
    save(study / "patient.dcm", dataset(frames, frames=2, **more))
    salt = Salt.new()
    (tmp_path / "results").mkdir()
    salt.keep(tmp_path / "results")
    name = salt.name(PREFIX + "1")
    points = Keypoints(AOP, np.array([[50, 20], [30, 20], [60, 50]], float), np.ones(3))
    with ResultsWriter(tmp_path / "results" / "results.csv", AOP, resume=False) as writer:
        for index in (0, 1):
            writer.write(Result(name, index, "abstained", "withheld", 96, 64, points, model="test@1"))
    return tmp_path / "results", study


def test_frames_of_a_cine_are_found_by_their_hash_and_shown_without_what_is_burned_in(tmp_path):
    results, study = a_study(tmp_path, regions=[region((20, 10, 80, 60))])
    session = Session(results, "anna", study)
    with session.log:
        for place, item in enumerate(session.items):
            assert session.frame(place)["scale"] == pytest.approx((0.2, 0.2))
            shown = cv2.imdecode(np.frombuffer(session.picture(place), np.uint8), cv2.IMREAD_GRAYSCALE)
            assert shown.shape == (64, 96)
            assert not shown[:10].any()
            assert not shown[:, :20].any()
            assert shown[30, 50] == (60, 120)[item.key[1]]


def test_a_file_of_a_patient_without_a_region_is_not_shown(tmp_path):
    results, study = a_study(tmp_path)
    session = Session(results, "anna", study)
    with session.log:
        assert "names may be burned in" in session.frame(0)["trouble"]


def test_outlines_are_shown_where_the_run_wrote_them(a_run):
    results, frames = a_run
    (results / "outlines").mkdir()
    (results / "outlines" / "0005.json").write_text('{"source": "0005.png", "FH": [[1, 2], [3, 4], [5, 2]]}')
    assert session_frame(results, frames)["outlines"] == {"FH": [[1, 2], [3, 4], [5, 2]]}


def test_frames_that_are_elsewhere_are_said(a_run, tmp_path):
    results, frames = a_run
    with pytest.raises(UsageError, match="give their folder with --frames"):
        Session(results, "anna")
    with pytest.raises(UsageError, match="found nothing at"):
        Session(results, "anna", tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="none of the 6 measured files"):
        Session(results, "anna", tmp_path / "empty")
    (frames / "0001.png").unlink()
    session = Session(results, "anna", frames)
    assert session.notes == ["1 of 6 measured files are not found"]


def test_a_port_that_is_taken_is_said():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UsageError, match=r"--port: \d+ cannot be used"):
            bound(other.getsockname()[1])


def test_ten_thousand_frames_open_in_two_seconds_and_the_next_is_there_in_a_tenth(a_run):
    results, frames = a_run
    with open(results / "results.csv", newline="", encoding="utf-8") as stream:
        header, *rows = list(csv.reader(stream))
    picture = (frames / "0005.png").read_bytes()
    with open(results / "results.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows([f"{number:05d}.png", *rows[number % 2][1:]] for number in range(10_000))
    for number in range(10_000):
        (frames / f"{number:05d}.png").symlink_to(frames / "0005.png") if number else None
    (frames / "00000.png").write_bytes(picture)
    begin = time.process_time()
    session = Session(results, "anna", frames)
    with session.log:
        session.overview()
        opening = time.process_time() - begin
        begin = time.process_time()
        for place in range(100, 120):
            session.frame(place)
            session.picture(place)
        each = (time.process_time() - begin) / 20
    # Of the processor, since machines are shared.
    assert opening < 2
    assert each < 0.1
