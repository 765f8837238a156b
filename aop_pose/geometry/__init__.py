"""Every formula of the house: arrays in, numbers out, no second copy anywhere.

Points are (x, y) with x to the right and y down; the centre of the top-left pixel is (0, 0). A formula that
has no answer (missing or coincident points, an empty outline) gives NaN and never raises. Angles are in
degrees; lengths are in the unit of the points, so that points given in millimetres give millimetres.
"""

from aop_pose.geometry.angles import angle_of_progression, aop_gradient, aop_sensitivity
from aop_pose.geometry.head import (
    ellipse_axes,
    head_circumference,
    implausible_axes,
    point_distance,
    ramanujan_perimeter,
    regularise_axes,
)
from aop_pose.geometry.outlines import (
    FETAL_HEAD,
    SYMPHYSIS,
    head_symphysis_distance,
    landmarks_from_masks,
    largest_contour,
    symphysis_ends,
    tangent_point,
)

__all__ = [
    "FETAL_HEAD",
    "SYMPHYSIS",
    "angle_of_progression",
    "aop_gradient",
    "aop_sensitivity",
    "ellipse_axes",
    "head_circumference",
    "head_symphysis_distance",
    "implausible_axes",
    "landmarks_from_masks",
    "largest_contour",
    "point_distance",
    "ramanujan_perimeter",
    "regularise_axes",
    "symphysis_ends",
    "tangent_point",
]
