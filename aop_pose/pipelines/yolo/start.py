"""First weights for a pose network: what of a start fits, and that enough does."""

from __future__ import annotations

from aop_pose.errors import UsageError
from aop_pose.pipelines.start import Start
from aop_pose.schemas import AOP


def transfer(start: Start, model: str, classes: int = 1) -> tuple[int, int]:
    """How many tensors of a pose network of that size the start fills whole, and how many the network has.

    The head differs between tasks; backbone and neck must fit whole. UsageError where they do not.
    """
    from ultralytics.nn.tasks import PoseModel

    wanted = PoseModel(f"{model}-pose.yaml", nc=classes, data_kpt_shape=[len(AOP.points), 2], verbose=False)
    if start.model is None:
        return 0, len(wanted.state_dict())
    # Ultralytics gives the head the width of the start's where only that differs, so it is asked rather than guessed.
    wanted.load(start.model, verbose=False)
    tensors, given = wanted.state_dict(), start.model.state_dict()
    fitting = {key for key, value in tensors.items() if key in given and given[key].shape == value.shape}
    body = [key for key in tensors if not key.startswith(f"model.{len(wanted.model) - 1}.")]
    if missing := [key for key in body if key not in fitting]:
        raise UsageError(
            f"--init: expected all {len(body)} backbone and neck tensors of {model}, "
            f"found {len(body) - len(missing)} in {start.words} (first that does not fit: {missing[0]})"
        )
    return len(fitting), len(tensors)
