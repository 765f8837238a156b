"""Made-up 3-D ultrasound of a fetus with 22 exact points: single volumes and sequences."""

from aop_pose.phantom.fetus.volume import (
    SHAPE,
    FetusPhantom,
    make_fetus,
    make_fetus_sequence,
    shape_of,
    write_fetus_phantoms,
)

__all__ = ["SHAPE", "FetusPhantom", "make_fetus", "make_fetus_sequence", "shape_of", "write_fetus_phantoms"]
