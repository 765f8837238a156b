"""Made-up frames with exact answers: transperineal (``make_phantom``), head planes (``make_head_phantom``), and volumes
of a fetus (``make_fetus``, ``make_fetus_sequence``)."""

from aop_pose.phantom.devices import DEVICES
from aop_pose.phantom.fetus import FetusPhantom, make_fetus, make_fetus_sequence, write_fetus_phantoms
from aop_pose.phantom.frame import Phantom, make_phantom
from aop_pose.phantom.head import HeadPhantom, make_head_phantom
from aop_pose.phantom.write import write_head_phantoms, write_phantoms

__all__ = [
    "DEVICES",
    "FetusPhantom",
    "HeadPhantom",
    "Phantom",
    "make_fetus",
    "make_fetus_sequence",
    "make_head_phantom",
    "make_phantom",
    "write_fetus_phantoms",
    "write_head_phantoms",
    "write_phantoms",
]
