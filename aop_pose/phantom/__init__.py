"""Made-up frames with exact answers: transperineal (``make_phantom``) and head planes (``make_head_phantom``)."""

from aop_pose.phantom.devices import DEVICES
from aop_pose.phantom.head import HeadPhantom, make_head_phantom
from aop_pose.phantom.phantom import Phantom, make_phantom
from aop_pose.phantom.write import write_head_phantoms, write_phantoms

__all__ = [
    "DEVICES",
    "HeadPhantom",
    "Phantom",
    "make_head_phantom",
    "make_phantom",
    "write_head_phantoms",
    "write_phantoms",
]
