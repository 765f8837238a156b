"""What cannot be planned is said in one line."""

import operator

import pytest
import torch
from torch import fx, nn

from aop_pose.errors import UsageError
from aop_pose.pipelines.fetusmap.network import UNet3d
from aop_pose.pipelines.fetusmap.planner import Plan, max_input_size, plan_memory
from tests.pipelines.fetusmap.networks import PlainChain, picture


class Gate(nn.Module):
    """Control flow on values."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, picture):
        features = self.convolution(picture)
        return features if features.sum() > 0 else -features


class Returning(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1)
        self.what = what

    def forward(self, picture):
        return self.what(self.convolution(picture))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.GRU(8, 8)

    def forward(self, rows):
        return self.cells(rows)[0]


def refused(module, given):
    with pytest.raises(UsageError) as caught:
        plan_memory(module, [given])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_control_flow_is_refused_and_may_be_declared_a_leaf():
    message = refused(Gate(), picture(8))
    assert "torch.fx can trace, found Gate" in message
    assert "leaves=" in message


def test_a_declared_graph_stands_for_one_that_cannot_be_traced():
    module = Gate()
    graph = fx.Graph()
    features = graph.call_module("convolution", (graph.placeholder("picture"),))
    graph.output(graph.call_function(operator.neg, (graph.call_function(torch.sigmoid, (features,)),)))
    plan = plan_memory(module, [picture(8)], "gcp", graph=graph)
    planned = plan.apply(module, graph=graph)
    assert torch.equal(planned(picture(8)), -torch.sigmoid(module.convolution(picture(8))))


class Inner(nn.Module):
    def forward(self, features):
        if features.shape[0] > 1 and bool(torch.ones(1) > 0):
            return features.sigmoid()
        return features if features.is_meta or features.sum() > 0 else -features


def test_a_part_with_control_flow_may_be_a_leaf():
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), Inner(), nn.Conv2d(4, 1, 1))
    assert "Inner" in refused(module, picture(8)) or "leaves=" in refused(module, picture(8))
    planned = plan_memory(module, [picture(8)], "gcp", leaves=(Inner,)).apply(module, leaves=(Inner,))
    assert torch.equal(planned(picture(8)), module(picture(8)))


@pytest.mark.parametrize("what", [lambda x: (x, 3.0), lambda x: {"map": x, "name": "left"}, lambda x: x.shape])
def test_a_network_that_returns_other_than_tensors_is_refused(what):
    assert "expected a network that returns tensors" in refused(Returning(what), picture(8))


def test_a_unit_that_gives_several_tensors_is_refused_by_name():
    assert "expected one tensor from cells (GRU), found tuple" in refused(Recurrent(), torch.randn(5, 2, 8))


def test_writing_in_place_into_what_others_read_is_refused():
    def clash(features):
        return features + torch.nn.functional.relu(features, inplace=True)

    message = refused(Returning(lambda x: clash(x)), picture(8))
    assert "writes in place into convolution, which add reads too; make it inplace=False" in message


class Counting(nn.Module):
    """Writes into a buffer while it runs."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3, padding=1)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, picture):
        self.steps.add_(1)
        return self.convolution(picture) * self.steps


def test_planning_writes_into_no_buffer_of_the_network():
    module = Counting()
    assert "memory planner: " in refused(module, picture(8))
    assert module.steps == 0


def test_writing_into_a_part_of_a_value_is_refused():
    def halved(features):
        part = features * 1.0
        part[:, :1].mul_(0.5)
        return part

    assert "memory planner: " in refused(Returning(halved), picture(8))


def test_a_wrong_shape_is_refused_with_the_unit_that_does_not_run():
    assert "does not run on inputs of shape (2, 3, 8, 8)" in refused(PlainChain(), torch.randn(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "expected JSON"), ("[]", "expected an object"), ('{"segment": []}', "did you mean 'segments'")],
)
def test_a_plan_that_is_none_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        Plan.from_json(text)


@pytest.mark.parametrize("wrong", [{"method": "gpc"}, {"max_slowdown": 0.5}])
def test_numbers_without_sense_are_refused(wrong):
    with pytest.raises(UsageError, match="memory planner: expected"):
        plan_memory(PlainChain(), [picture(8)], **wrong)


def test_the_largest_input_fits_and_the_next_does_not():
    network = UNet3d(1, 3, (4, 8))
    sizes = [max_input_size(network, (16, 8, 8), gb, stride=2, method="gcp") for gb in (0.0005, 0.002)]
    assert sizes[0] < sizes[1]
    assert all(axis % 2 == 0 for size in sizes for axis in size)
    assert max_input_size(network, (16, 8, 8), 1e-6, stride=2, method="gcp") is None


def test_a_size_whose_deepest_level_has_one_voxel_is_not_tried():
    network = UNet3d(1, 3, (4, 8, 8, 8))
    assert max_input_size(network, (16, 16, 16), 1e-6, stride=8, method="gcp") is None
    found = max_input_size(network, (16, 16, 16), 0.01, stride=8, method="gcp")
    assert found is not None
    assert min(found) >= 16


def test_a_stride_that_the_network_does_not_run_at_is_said():
    with pytest.raises(UsageError, match=r"runs at every multiple of stride 1, .* give the stride of its deepest"):
        max_input_size(UNet3d(1, 3, (4, 8)), (16, 8, 8), 0.002, method="gcp")


def test_a_plan_is_printed_with_what_is_kept_and_recomputed():
    text = plan_memory(PlainChain(), [picture()], "gcp").table()
    assert text.startswith("memory plan (gcp) for 2x1x32x32\n")
    assert "\n  recompute " in text
    assert "MB of activations (-" in text
