"""A planned network gives what the plain one gives, bit for bit, and takes the memory that was said."""

import copy
import json
from functools import cache

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from aop_pose.pipelines.fetusmap.network import UNet3d
from aop_pose.pipelines.fetusmap.planner import Plan, dry_peak, plan_memory, step_peak
from aop_pose.pipelines.fetusmap.planner.graph import is_valid
from aop_pose.pipelines.fetusmap.planner.memory import mean_square
from aop_pose.pipelines.fetusmap.planner.reversible import reverse
from tests.pipelines.fetusmap.networks import (
    NETWORKS,
    CumulativeNorms,
    DirectNorm,
    PlainChain,
    Query,
    ReadTwice,
    ResidualChain,
    Shared,
    picture,
)

SMALL = (4, 8)


def network_and_input(name):
    if name == "3-D U-Net":
        return UNet3d(1, 3, SMALL), torch.randn(1, 1, 8, 16, 16)
    if name == "3-D U-Net with a stem":
        return UNet3d(1, 3, SMALL, stem=2), torch.randn(1, 1, 16, 16, 16)
    return NETWORKS[name](), picture()


@cache
def plan_of(name, method, slowdown):
    """The plan of one of the networks: the same whatever its weights are."""
    module, given = network_and_input(name)
    return plan_memory(module, [given], method, slowdown)


def stepped(module, inputs, seed=11):
    """Outputs, gradients, buffers and the random state after one training step."""
    module.zero_grad()
    torch.manual_seed(seed)
    outputs = module(*inputs)
    mean_square(outputs).backward()
    gradients = [parameter.grad for parameter in module.parameters()]
    return [*tree_leaves(outputs), *gradients, *module.buffers(), torch.get_rng_state()]


ALL = ["3-D U-Net", "3-D U-Net with a stem", *NETWORKS]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("slowdown", [1.05, 1.15, 1.4])
def test_checkpointing_changes_no_bit(name, slowdown):
    module, given = network_and_input(name)
    planned = plan_of(name, "gcp", slowdown).apply(copy.deepcopy(module))
    for _ in range(2):  # twice, so that running statistics of the first step would show
        expected, found = stepped(module, [given]), stepped(planned, [given])
        assert len(expected) == len(found)
        assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


@pytest.mark.parametrize("network", [DirectNorm, ReadTwice, CumulativeNorms])
@pytest.mark.parametrize("slowdown", [1.15, 1.4, 2.0])
def test_checkpointing_changes_no_bit_of_what_is_easily_overlooked(network, slowdown):
    module = network()
    plan = plan_memory(module, [picture()], "gcp", slowdown)
    planned = plan.apply(copy.deepcopy(module))
    assert slowdown < 1.4 or "recompute" in {segment.action for segment in plan.segments}
    for _ in range(2):
        expected, found = stepped(module, [picture()]), stepped(planned, [picture()])
        assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


@pytest.mark.parametrize("method", ["rev", "gcp+rev"])
def test_a_pass_that_is_given_a_learned_tensor_stays_as_it_is(method):
    plan = plan_memory(Query(), [picture()], method, 2.0)
    assert all(names[0].startswith("end") for names in plan.reversed_passes)
    assert plan.apply(Query())(picture()).shape == (2, 1, 32, 32)


@pytest.mark.parametrize("name", ALL)
def test_checkpointing_saves_memory_and_the_estimate_is_within_a_tenth(name):
    module, given = network_and_input(name)
    plan = plan_of(name, "gcp", 1.4)
    assert "recompute" in {segment.action for segment in plan.segments}
    measured_plain, measured = step_peak(module, [given]), step_peak(plan.apply(module), [given])
    assert measured < 0.9 * measured_plain
    assert plan.planned_bytes == pytest.approx(measured, rel=0.1)
    assert plan.plain_bytes == pytest.approx(measured_plain, rel=0.1)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("method", ["gcp", "gcp+rev"])
def test_every_segment_is_valid_and_each_unit_runs_once(name, method):
    planned = plan_of(name, method, 1.4).apply(network_and_input(name)[0])
    graph = planned.graph
    run = [label for stage in planned.stages for label in stage.labels]
    assert sorted(run) == list(range(len(graph.units)))
    for position, label in enumerate(run):
        assert set(graph.units[label].inputs) <= set(run[:position])
    for stage in planned.stages:
        assert is_valid(graph, sum(1 << label for label in stage.labels))


def test_passes_in_a_row_are_reversed_as_one_and_keep_only_the_last_output():
    module, given = PlainChain(passes=8), picture(batch=1, size=64)
    plan = plan_memory(module, [given], "rev", 3.0)
    planned = plan.apply(module)
    assert len(plan.reversed_passes) == 8
    assert len(planned.graph.graph.find_nodes(op="call_function", target=reverse)) == 1
    measured = step_peak(planned, [given])
    assert measured == pytest.approx(plan.planned_bytes, rel=0.1)
    assert measured < 0.5 * step_peak(module, [given])


def test_reversing_saves_where_checkpoints_are_done():
    module, given = PlainChain(passes=8), picture(batch=1, size=64)
    checkpointed, both = (plan_memory(module, [given], method, 3.0) for method in ("gcp", "gcp+rev"))
    assert both.reversed_passes
    assert both.planned_bytes < checkpointed.planned_bytes
    assert both.planned_bytes == pytest.approx(step_peak(both.apply(module), [given]), rel=0.1)


def test_parameters_are_the_modules_own_unless_passes_are_reversed():
    module = Shared()
    planned = plan_of("shared modules", "gcp", 1.4).apply(module)
    assert all(one is other for one, other in zip(planned.parameters(), module.parameters(), strict=True))
    assert planned.network.state_dict().keys() == module.state_dict().keys()


def test_a_plan_survives_being_stored_and_refuses_another_network(tmp_path):
    module, given = PlainChain(), picture()
    plan = plan_of("chain of passes", "rev", 3.0)
    planned = plan.apply(module)
    torch.save({"plan": plan.to_json(), "weights": planned.network.state_dict()}, tmp_path / "last.pt")
    stored = torch.load(tmp_path / "last.pt", weights_only=True)
    again = Plan.from_json(stored["plan"]).apply(PlainChain())
    again.network.load_state_dict(stored["weights"])
    assert Plan.from_json(stored["plan"]) == plan
    assert torch.equal(planned.eval()(given), again.eval()(given))
    with pytest.raises(Exception, match=r"expected the network it was made for .* found ResidualChain"):
        plan.apply(ResidualChain())


def test_a_plan_of_before_names_each_block_of_a_row():
    module, given = PlainChain(), picture()
    plan = plan_of("chain of passes", "rev", 3.0)
    blocks = [names[0] for names in plan.reversed_passes]
    old = json.loads(plan.to_json())
    del old["slabs"]
    first, rest = old["segments"][0], [one for one in old["segments"][1:] if one["units"] != blocks[:1]]
    reverse_of = [{"action": "reverse", "units": blocks[:2]}, {"action": "reverse", "units": blocks[2:]}]
    old["segments"] = [first, *reverse_of, *rest]
    assert len(blocks) > 2
    torch.manual_seed(0)
    expected = stepped(plan.apply(module), [given])
    torch.manual_seed(0)
    found = stepped(Plan.from_json(json.dumps(old)).apply(module), [given])
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


def test_a_planned_network_measures_without_gradients_and_at_other_sizes():
    module = UNet3d(1, 3, SMALL)
    planned = plan_of("3-D U-Net", "gcp", 1.4).apply(module)
    other = torch.randn(2, 1, 24, 16, 16)
    with torch.no_grad():
        assert torch.equal(planned(other), module(other))
    assert step_peak(planned, [other]) == pytest.approx(dry_peak(planned, [other]), rel=0.1)


def test_frozen_parameters_get_no_gradient():
    module, given = PlainChain(), picture()
    planned = plan_of("chain of passes", "rev", 3.0).apply(module)
    frozen = next(part for part in planned.modules() if isinstance(part, nn.BatchNorm2d))
    frozen.weight.requires_grad_(False)
    mean_square(planned(given)).backward()
    assert frozen.weight.grad is None
    assert frozen.bias.grad is not None
