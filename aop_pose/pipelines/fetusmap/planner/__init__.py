"""Plans the memory of a training step for any module: checkpoints and reversible blocks (section 3.1)."""

from aop_pose.pipelines.fetusmap.planner.execution import Planned
from aop_pose.pipelines.fetusmap.planner.heuristic import max_input_size, plan_memory
from aop_pose.pipelines.fetusmap.planner.memory import dry_peak, free_bytes, give_back_large_blocks, step_peak
from aop_pose.pipelines.fetusmap.planner.plan import Plan

__all__ = [
    "Plan",
    "Planned",
    "dry_peak",
    "free_bytes",
    "give_back_large_blocks",
    "max_input_size",
    "plan_memory",
    "step_peak",
]
