"""Results with and without calibration and gate; arrays that cannot be measured; what an artefact cannot honour."""

from concurrent.futures import ThreadPoolExecutor

import attrs
import cv2
import numpy as np
import pytest

from aop_pose.core.frame import Frame
from aop_pose.errors import UsageError
from aop_pose.measuring.measurer import Measurer, measure_array
from tests.fakes import fake_predictor, textured
from tests.trust.test_gate import gate  # noqa: F401
from tests.trust.test_intervals import calibration


def guarded(**changes):
    bare = fake_predictor()
    return attrs.evolve(bare, contract=bare.contract.model_copy(update=changes))


def test_without_a_calibration_there_is_no_interval():
    assert measure_array(fake_predictor(), textured(0)).measurements["aop_deg"].interval is None


def test_an_interval_stands_around_the_angle_and_widens_with_the_coverage():
    predictor = guarded(calibration=calibration())
    ninety, eighty = (
        measure_array(predictor, textured(0), coverage=share).measurements["aop_deg"] for share in (0.9, 0.8)
    )
    assert ninety.interval == (max(0, ninety.value - 36), ninety.value + 36)
    assert eighty.interval[1] - eighty.value == pytest.approx(32)


def test_a_coverage_beyond_the_calibration_is_refused_before_anything_is_measured():
    with pytest.raises(UsageError, match="--coverage"):
        Measurer(guarded(calibration=calibration()), coverage=0.99)


@pytest.mark.parametrize("coverage", [0.0, 1.0, 1.5, -1.0, float("nan"), float("inf")])
def test_a_coverage_that_is_none_is_refused_without_a_calibration_too(coverage):
    with pytest.raises(UsageError, match="--coverage: expected a share between 0 and 1"):
        Measurer(fake_predictor(), coverage=coverage)


def test_what_an_artefact_does_not_have_is_refused_and_no_gate_is_always_met():
    with pytest.raises(UsageError, match=r"--coverage: fake.* is not calibrated"):
        Measurer(fake_predictor(), coverage=0.9)
    with pytest.raises(UsageError, match=r"--gate: fake.* has no gate"):
        Measurer(fake_predictor(), gate=True)
    facts = {"coverage": None, "gate": False, "region": "auto", "looks": 1}
    assert Measurer(fake_predictor(), gate=False).facts == facts
    assert Measurer(guarded(calibration=calibration())).facts["coverage"] == 0.9


def bright_spots(inputs):
    """One candidate a frame whose points lie where it is brightest, in the left, the middle and the right third."""
    output = np.zeros((len(inputs), 11, 1), np.float32)
    output[:, 4, 0] = 0.9
    for one, picture in zip(output, inputs[:, 0], strict=True):
        third = picture.shape[1] // 3
        for k in range(3):
            part = picture[:, k * third : (k + 1) * third]
            y, x = np.unravel_index(part.argmax(), part.shape)
            one[5 + 2 * k : 7 + 2 * k, 0] = x + k * third, y
    return output


def test_the_mean_of_several_looks_finds_what_one_look_finds():
    """Bright spots stay where they are, however often they are looked at; the passes of the gate stay the first two."""
    picture = np.zeros((256, 256), np.uint8)
    spots = np.array([[40.0, 100.0], [128.0, 60.0], [200.0, 150.0]])
    for x, y in spots:
        cv2.circle(picture, (int(x), int(y)), 9, 200, -1)
    picture = cv2.GaussianBlur(picture, (0, 0), 6)
    predictor = attrs.evolve(fake_predictor(), network=bright_spots)
    once, (often, passes) = (
        Measurer(predictor, region="whole", looks=looks).seen([Frame(picture)])[0] for looks in (1, 9)
    )
    assert often.keypoints.coords == pytest.approx(once[0].keypoints.coords, abs=1.5)
    assert not np.array_equal(often.keypoints.coords, once[0].keypoints.coords)
    assert np.array_equal(passes.first.found.coords, once[1].first.found.coords)
    assert np.array_equal(passes.second.found.coords, once[1].second.found.coords)
    assert measure_array(predictor, picture, region="whole", looks=9).measurements == often.measurements


@pytest.mark.parametrize("looks", [0, -1, 13])
def test_looks_that_there_are_not_are_refused(looks):
    with pytest.raises(UsageError, match="--looks: expected a number from 1 to 12"):
        Measurer(fake_predictor(), looks=looks)


def test_an_interval_for_one_look_is_not_stated_for_several():
    with pytest.raises(UsageError, match="--looks: expected 1, which the intervals are calibrated for, found 2"):
        Measurer(guarded(calibration=calibration()), looks=2)


def test_a_frame_that_is_harder_than_those_of_the_calibration_says_so():
    hard = guarded(calibration=calibration(difficulty="score", hardest=0.1))
    assert measure_array(hard, textured(0)).reason.startswith("harder than the frames of the calibration")
    easy = guarded(calibration=calibration(difficulty="score", hardest=0.9))
    assert measure_array(easy, textured(0)).reason == ""


def test_a_head_outline_gives_the_head_symphysis_distance():
    bare = fake_predictor()
    found = bare.find([textured(0)])[0]
    ps1 = found.found["PS1"]
    square = ps1 + np.array([[10, -40], [90, -40], [90, 40], [10, 40]])

    class Outlining(type(bare)):
        def find(self, pictures):
            return [attrs.evolve(one, outlines={"FH": square}) for one in super().find(pictures)]

    predictor = Outlining(bare.contract, bare.network, bare.model_id)
    measured = measure_array(predictor, textured(0), spacing=(0.5, 0.5)).measurements
    assert measured["hsd_px"].value == pytest.approx(10)
    assert measured["hsd_mm"].value == pytest.approx(5)


@pytest.mark.parametrize(
    ("picture", "spacing", "words"),
    [
        (np.zeros((64, 64, 3), np.uint8), None, "found colour .64, 64, 3.; convert it to gray"),
        (np.zeros((64, 64)), None, "expected gray values .H, W. uint8, found float64"),
        (np.full((64, 64), np.nan), None, "expected gray values"),
        (np.zeros((0, 64), np.uint8), None, "expected gray values"),
        (np.zeros(64, np.uint8), None, "expected gray values"),
        (np.zeros((64, 64), np.uint8), (0.1, -0.1), "two positive numbers"),
        (np.zeros((64, 64), np.uint8), (0.1,), "two positive numbers"),
    ],
)
def test_an_array_that_is_no_gray_picture_is_refused_in_one_line(picture, spacing, words):
    with pytest.raises(ValueError, match=words) as error:
        measure_array(fake_predictor(), picture, spacing)
    assert "\n" not in str(error.value)


def test_an_array_is_not_changed_and_need_not_be_writable_or_in_one_piece():
    picture = np.repeat(textured(0), 2, axis=1)[:, ::2]
    picture.setflags(write=False)
    assert measure_array(fake_predictor(), picture).status == "ok"
    assert np.array_equal(picture, textured(0))


def test_one_model_measures_in_several_threads_at_a_time():
    predictor, pictures = fake_predictor(), [textured(i) for i in range(16)]
    alone = [measure_array(predictor, picture).measurements for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda picture: measure_array(predictor, picture).measurements, pictures)
    assert list(together) == alone


def test_the_gate_withholds_numbers_and_keeps_points(gate):  # noqa: F811
    predictor = guarded(gate=gate)
    withheld = measure_array(predictor, textured(0))
    assert (withheld.status, withheld.measurements) == ("abstained", {})
    assert withheld.reason.startswith("withheld: ")
    assert withheld.keypoints is not None
    assert measure_array(predictor, textured(0), gate=False).status == "ok"
