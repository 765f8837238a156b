"""Results with and without calibration and gate: an artefact that has neither behaves as before."""

import attrs
import pytest

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


def test_the_gate_withholds_numbers_and_keeps_points(gate):  # noqa: F811
    predictor = guarded(gate=gate)
    withheld = measure_array(predictor, textured(0))
    assert (withheld.status, withheld.measurements) == ("abstained", {})
    assert withheld.reason.startswith("withheld: ")
    assert withheld.keypoints is not None
    assert measure_array(predictor, textured(0), gate=False).status == "ok"
