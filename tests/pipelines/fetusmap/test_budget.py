"""The memory that a training step takes, with its loss, and what is said where it is not there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")

from aop_pose.core.schemas import FETUS  # noqa: E402
from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.pipelines.fetusmap.landmarks import map_loss  # noqa: E402
from aop_pose.pipelines.fetusmap.network import UNet3d  # noqa: E402
from aop_pose.pipelines.fetusmap.planner import free_bytes, memory, step_peak  # noqa: E402
from aop_pose.pipelines.fetusmap.training import plan_for, usable_memory  # noqa: E402
from tests.fakes import SIDED_FACE  # noqa: E402
from tests.pipelines.fetusmap.test_landmarks import config_of  # noqa: E402


def test_what_a_step_takes_is_what_is_told():
    """Within 10 %, with the loss counted."""
    config = config_of("widths=[4,8]", "size=[16,16,16]", "pair=true")
    plan, needed = plan_for(config, SIDED_FACE, "cpu")
    assert plan is None
    network, points = UNet3d(1, 3, (4, 8)).to(memory_format=torch.channels_last_3d), torch.rand(1, 3, 3) * 15
    volume = torch.rand(1, 1, 16, 16, 16)
    loss = lambda raw: map_loss(raw, points, "cross-entropy", 2.0, SIDED_FACE.sides)  # noqa: E731
    counted = step_peak(network, [volume], loss, kernels=True)
    fixed = 5 * sum(p.nbytes for p in network.parameters()) + volume.nbytes
    assert needed == pytest.approx(counted + fixed, rel=0.1)


def test_a_planned_step_takes_less():
    changes = ("widths=[4,8]", "size=[32,32,32]")
    plan, planned = plan_for(config_of("plan=auto", *changes), FETUS, "cpu")
    _, plain = plan_for(config_of(*changes), FETUS, "cpu")
    # What convolutions take for themselves is in both.
    assert planned < 0.95 * plain
    assert plan.planned_bytes < plan.plain_bytes


def test_no_memory_says_which_size_fits():
    with pytest.raises(UsageError, match="size: a training step at 64x64x64 needs") as raised:
        plan_for(config_of("budget_gb=0.05", "widths=[4,8]", "size=[64,64,64]"), SIDED_FACE, "cpu")
    size = str(raised.value).split("size=[")[1].split("]")[0]
    _, needed = plan_for(config_of(f"size=[{size}]", "widths=[4,8]"), SIDED_FACE, "cpu")
    assert needed <= 0.05 * 2**30
    assert needed > 0.02 * 2**30


def test_where_nothing_fits_windows_are_named():
    with pytest.raises(UsageError, match=r"no size of these proportions fits .* --set mode=patch"):
        plan_for(config_of("budget_gb=0.0005", "widths=[4,8]"), SIDED_FACE, "cpu")


def test_free_memory_is_the_least_of_machine_control_groups_and_limits(tmp_path, monkeypatch):
    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "resource", None)
    write("proc/meminfo", "MemTotal: 8000 kB\nMemAvailable: 5000 kB\n")
    assert free_bytes() == 5000 * 1024
    # Version 2: a limit of the group above counts; what is cached of files can be had.
    write("proc/self/cgroup", "0::/outer/inner\n")
    write("groups/outer/inner/memory.max", "max\n")
    write("groups/outer/memory.max", "4096000\n")
    write("groups/outer/memory.current", "1000000\n")
    write("groups/outer/memory.stat", "anon 5\ninactive_file 2000\n")
    assert free_bytes() == 4096000 - 1000000 + 2000
    # Version 1, in a container whose own path leads nowhere.
    write("proc/self/cgroup", "4:memory:/docker/abc\n2:cpu:/x\n")
    write("groups/memory/memory.limit_in_bytes", "3000000\n")
    write("groups/memory/memory.usage_in_bytes", "2900000\n")
    assert free_bytes() == 100000
    assert usable_memory("cpu") == (0.0, "0.00 GiB free, 0.00 with a margin")


LIMITED = """
import resource, sys, torch
from pathlib import Path
from aop_pose.errors import UsageError
from aop_pose.pipelines.fetusmap.landmarks import map_loss
from aop_pose.pipelines.fetusmap.network import UNet3d
from aop_pose.pipelines.fetusmap.training import plan_for
from tests.fakes import SIDED_FACE
from tests.pipelines.fetusmap.test_landmarks import config_of

def step(size, form=torch.channels_last_3d):
    network = UNet3d(1, 3, (8, 16)).to(memory_format=form)
    volume = torch.rand(1, 1, *size).contiguous(memory_format=form)
    map_loss(network(volume), torch.rand(1, 3, 3) * 7, "cross-entropy", 2.0, ()).backward()

torch.set_num_threads(1)
step((16, 16, 16))
status = Path("/proc/self/status").read_text().split("VmSize:")[1]
here = int(status.split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (here + 700 * 2**20,) * 2)
wanted = "size=[160,128,128]"
try:
    plan_for(config_of("widths=[8,16]", wanted), SIDED_FACE, "cpu")
except UsageError as raised:
    refusal = str(raised)
    print(refusal)
fits = refusal.split("size=[")[1].split("]")[0]
step([int(side) for side in fits.split(",")])
print("fits")
try:
    step((160, 128, 128))
except (RuntimeError, MemoryError):
    print("out of memory")
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="limits of address space are asked of Linux")
def test_a_step_that_runs_out_of_memory_is_refused_before_and_the_size_named_fits():
    """Under a real limit: the refused size does run out of it, the named one does not."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False, env=environment,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0].startswith("size: a training step at 160x128x128 needs")
    assert lines[1:] == ["fits", "out of memory"]
