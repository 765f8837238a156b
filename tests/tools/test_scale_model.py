"""The model of an archive: its limits, and a simulation that agrees with it."""

import attrs
import pytest
import scale_model as model

from aop_pose.io.discover import Entry
from tests.fakes import fake_predictor, write_frames


@pytest.fixture
def costs():
    return model.Costs(measure=0.04, read=0.002, write=1e-5, enter=5e-5, bytes=3e4)


@pytest.mark.parametrize(
    ("storage", "cores", "limit"),
    [
        ({}, 2, "workers"),
        ({"files": 1e9, "bytes": 1e6}, 20, "storage: bytes"),
        ({"files": 100}, 20, "storage: small files"),
        ({"files": 1e9, "bytes": 1e12}, 20_000, "driver"),
    ],
)
def test_the_limit_that_binds_is_named_and_the_simulation_agrees(costs, storage, cores, limit):
    store = model.Storage(**storage)
    found = model.estimate(costs, store, 10**6, cores)
    assert found.limit == limit
    assert found.core_seconds == pytest.approx(40_000)
    assert model.simulate(costs, store, 10**6, cores) / found.seconds == pytest.approx(1, abs=0.12)


def test_twice_the_machines_take_half_the_time_until_another_station_binds(costs):
    def seconds(cores):
        return model.estimate(costs, model.Storage(), 10**8, cores).seconds - costs.start

    assert seconds(20) == pytest.approx(seconds(10) / 2, rel=0.01)
    assert seconds(2000) == pytest.approx(seconds(1000), rel=0.02)
    slower = attrs.evolve(costs, measure=0.08)
    assert model.estimate(slower, model.Storage(), 10**8, 2).seconds > 1.9 * seconds(2)


def test_costs_are_those_of_this_process(tmp_path):
    folder = write_frames(tmp_path / "frames", 3)
    entries = [Entry(path, path.name) for path in sorted(folder.iterdir())]
    found = model.measured_costs(fake_predictor(), entries, tmp_path / "scratch")
    assert found.measure > found.read > 0
    assert found.bytes == pytest.approx(sum(path.stat().st_size for path in folder.iterdir()) / 3)
    assert "| 1e+08 | 1000 |" in model.as_markdown(found, model.Storage(), 2)
