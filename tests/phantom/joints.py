"""The ranges of the joints, asked of a pose."""

import numpy as np

from aop_pose.phantom.fetus.body import ARM, LEG, NECK, SPINE


def within_bounds(pose):
    """True where no joint of a pose is beyond its range."""
    joints = (pose.spine, SPINE), (pose.neck, NECK), (pose.arms, ARM), (pose.legs, LEG)
    limits = [(angles, np.array(ranges).T) for angles, ranges in joints]
    return all(bool(((low <= angles) & (angles <= high)).all()) for angles, (low, _, high) in limits)
