"""Made-up transperineal frames with exact answers: ``make_phantom``, and ``write_phantoms`` for a folder."""

from aop_pose.phantom.devices import DEVICES
from aop_pose.phantom.phantom import Phantom, make_phantom
from aop_pose.phantom.write import write_phantoms

__all__ = ["DEVICES", "Phantom", "make_phantom", "write_phantoms"]
