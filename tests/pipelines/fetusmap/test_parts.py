"""Convolutions in slabs, reversed rows, and networks the planner was not written for, measured by others' hooks."""

import copy

import pytest
import torch
from torch import fx, nn

from aop_pose.pipelines.fetusmap.network import UNet3d
from aop_pose.pipelines.fetusmap.planner import dry_peak, plan_memory, step_peak
from aop_pose.pipelines.fetusmap.planner.execution import Planned, convert, passes
from aop_pose.pipelines.fetusmap.planner.graph import build, members, trace
from aop_pose.pipelines.fetusmap.planner.memory import mean_square
from aop_pose.pipelines.fetusmap.planner.parts import concatenations
from aop_pose.pipelines.fetusmap.planner.reversible import reverse
from tests.pipelines.fetusmap.networks import FOREIGN, Dense, Functional, Ladder, PlainChain, Rows, picture, volume


def rewritten(module, given, reversing=False, slabs=True):
    """The module with everything reversed or in slabs that may be, kept whole or recomputed whole."""
    traced = trace(module)
    chosen = passes(build(module, traced, [given])) if reversing else ()
    root, graph = convert(module, traced, chosen, concatenations(traced, module) if slabs else ())
    built = build(root, graph, [given])
    return [Planned(built, [(action, members(built.whole))]) for action in ("keep", "recompute")]


def stepped(module, given):
    """Output and gradients, of the input too."""
    given = given.clone().requires_grad_()
    module.zero_grad()
    output = module(given)
    mean_square(output).backward()
    return [output.detach(), given.grad, *(p.grad.clone() for p in module.parameters() if p.grad is not None)]


def apart(ones, others):
    """Greatest relative difference; a gradient that is zero but for rounding (a bias before a norm) counts as 1e-3."""
    scale = 1e-3 * max(float(other.norm()) for other in others)
    return max(
        float((one - other).norm()) / max(scale, float(other.norm())) for one, other in zip(ones, others, strict=True)
    )


class Blocks(nn.Module):
    """A rewritten network whose reversed rows are called as modules, which keep all that autograd keeps."""

    def __init__(self, planned):
        super().__init__()
        self.root, self.graph = planned.network, planned.graph.graph

    def forward(self, given):
        class Run(fx.Interpreter):
            def call_function(self, target, args, kwargs):
                return nn.Sequential(*args[1:])(args[0]) if target is reverse else target(*args, **kwargs)

        return Run(self.root, garbage_collect_values=False, graph=self.graph).run(given)


SLABBED = {
    "U-Net": (lambda: UNet3d(1, 3, (4, 8, 8)), (44, 16, 8)),
    "ladder": (Ladder, (34, 8, 8)),
    "dense": (Dense, (38, 8, 12)),
}


@pytest.mark.parametrize("name", SLABBED)
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("batch", [1, 2])
def test_slabs_give_the_same_gradients(name, form, batch):
    make, size = SLABBED[name]
    for kind, close in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        module = make().to(kind, memory_format=form)
        given = volume(size, batch, kind).contiguous(memory_format=form)
        expected = stepped(module, given)
        for planned in rewritten(module, given):
            assert planned.graph.graph.find_nodes(op="call_function", target=torch.cat) == []
            assert apart(stepped(planned, given), expected) < close


def test_slabs_of_pictures_and_lines():
    class Joined(nn.Module):
        def __init__(self, axes):
            super().__init__()
            kind = {1: nn.Conv1d, 2: nn.Conv2d}[axes]
            self.a, self.b = kind(1, 3, 3, padding=1), kind(4, 2, 4, padding=3)
            self.shrink = {1: nn.AvgPool1d, 2: nn.AvgPool2d}[axes](4)
            self.grow = nn.Upsample(scale_factor=4, mode={1: "linear", 2: "bilinear"}[axes])

        def forward(self, given):
            return self.b(torch.cat([given, self.grow(self.shrink(self.a(given)))], dim=1))

    for axes in (1, 2):
        module, given = Joined(axes).double(), torch.randn(2, 1, *(40, 24)[:axes], dtype=torch.float64)
        for planned in rewritten(module, given):
            assert apart(stepped(planned, given), stepped(module, given)) < 1e-12


def test_a_concatenation_in_slabs_is_never_there_whole():
    module, given = UNet3d(1, 2, (8, 16)), volume((48, 16, 16))
    whole = step_peak(module, [given])
    [kept, _] = rewritten(module, given)
    assert step_peak(kept, [given]) < 0.8 * whole
    assert step_peak(kept, [given]) == pytest.approx(dry_peak(kept, [given]), rel=0.05)
    with torch.no_grad():
        assert torch.allclose(kept(given), module(given), atol=1e-5)


def test_what_is_read_elsewhere_or_strided_is_not_cut():
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv3d(2, 2, 3, stride=2), nn.Conv3d(2, 1, 3, padding=1)

        def forward(self, given):
            joined = torch.cat([given, given.sigmoid()], 1)
            return self.b(joined) + joined.mean(), self.a(torch.cat([given, given.tanh()], 1))

    assert concatenations(trace(Other()), Other()) == []


@pytest.mark.parametrize(
    "module", [PlainChain(), Functional(), Rows(), UNet3d(1, 2, (4, 8))], ids=lambda m: type(m).__name__
)
def test_reversed_rows_give_the_gradients_of_the_same_network_kept(module):
    given = picture(16) if type(module) in (PlainChain, Functional) else volume((16, 8, 8))
    for kind, close in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        for planned in rewritten(module.to(kind), given.to(kind), reversing=True):
            reference = Blocks(copy.deepcopy(planned))
            for _ in range(2):  # statistics of the first step would show in the second
                expected, found = stepped(reference, given.to(kind)), stepped(planned, given.to(kind))
                assert apart(found, expected) < close
            for one, other in zip(planned.buffers(), reference.buffers(), strict=True):
                assert torch.allclose(one.double(), other.double(), atol=1e-5)


def test_activations_called_as_functions_are_reversed_with_their_slopes():
    module = Functional()
    given = picture(16)
    found = passes(build(module, trace(module), [given]))
    assert len(found) == 4
    root, graph = convert(module, trace(module), found)
    [row] = graph.find_nodes(op="call_function", target=reverse)
    assert len(row.args) == 5
    slopes = [part.negative_slope for part in root.modules() if isinstance(part, nn.LeakyReLU)]
    assert slopes == [0.3] * 4


def test_a_pass_that_is_returned_or_written_into_stays_as_it_is():
    """The backward pass of a reversed one overwrites its output."""

    class Returned(nn.Module):
        def __init__(self, end):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU())
            self.end = end

        def forward(self, given):
            return self.end(self.body(given * 2))

    for end in (lambda x: x, lambda x: (x, x * 2), lambda x: x.flatten(2), lambda x: x.mul_(2), lambda x: x[:, :1]):
        module = Returned(end)
        assert passes(build(module, trace(module), [torch.randn(1, 2, 8, 8)])) == []


def test_a_reversed_output_is_used_up():
    [planned, _] = rewritten(PlainChain(), picture(16), reversing=True)
    loss = mean_square(planned(picture(16)))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()


def allocated(module, given):
    """Peak of torch's own allocator over a step beyond what stood, by the events of its profiler, in bytes."""
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        mean_square(module(given)).backward()
    live = peak = 0
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def saved(module, given):
    """Bytes of all storages that autograd keeps at the end of the forward pass, parameters left out."""
    own = {id(p.untyped_storage()) for p in module.parameters()} | {id(given.untyped_storage())}
    found = {}

    def pack(tensor):
        if id(tensor.untyped_storage()) not in own:
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = module(given)
    del output
    return sum(found.values())


@pytest.mark.parametrize("name", FOREIGN)
def test_estimates_of_foreign_networks_are_within_15_percent_of_the_allocator(name):
    given = volume((48, 32, 32))
    module = FOREIGN[name]()
    plan = plan_memory(module, [given], "gcp+rev", 1.5)
    planned = plan.apply(module)
    for network in (module, planned):
        assert dry_peak(network, [given], kernels=True) == pytest.approx(allocated(network, given), rel=0.15)
    assert plan.planned_bytes < 0.8 * plan.plain_bytes
    # Where what a kernel takes for itself is the peak, as in the dense one, a plan takes nothing off it.
    assert allocated(planned, given) < 1.01 * allocated(module, given)
    assert saved(planned, given) < saved(module, given)
    assert plan.planned_bytes == pytest.approx(step_peak(planned, [given]), rel=0.1)
