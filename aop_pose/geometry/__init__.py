"""Every formula of the house: arrays in, numbers out, no second copy anywhere.

Points are (x, y) with x to the right and y down; the centre of the top-left pixel is (0, 0). A formula that
has no answer (missing or coincident points, an empty outline) gives NaN and never raises. Angles are in
degrees; lengths are in the unit of the points, so that points given in millimetres give millimetres. Points of a
volume are (x, y, z) in right-handed millimetres (``geometry.volumes``).
"""

from aop_pose.geometry.angles import (
    angle_of_progression,
    angle_of_turn,
    aop_gradient,
    aop_sensitivity,
    turn_difference,
    turn_of_progression,
)
from aop_pose.geometry.head import (
    ellipse_axes,
    head_circumference,
    head_direction,
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
    outline_normals,
    symphysis_ends,
    tangent_point,
)
from aop_pose.geometry.volumes import (
    Plane,
    Registration,
    axis_angle,
    first_is_left,
    fit_plane,
    from_mm,
    handedness,
    opposite,
    plane_angle,
    plane_distance,
    register,
    to_mm,
    voxel_spacing,
)

__all__ = [
    "FETAL_HEAD",
    "SYMPHYSIS",
    "Plane",
    "Registration",
    "angle_of_progression",
    "angle_of_turn",
    "aop_gradient",
    "aop_sensitivity",
    "axis_angle",
    "ellipse_axes",
    "first_is_left",
    "fit_plane",
    "from_mm",
    "handedness",
    "head_circumference",
    "head_direction",
    "head_symphysis_distance",
    "implausible_axes",
    "landmarks_from_masks",
    "largest_contour",
    "opposite",
    "outline_normals",
    "plane_angle",
    "plane_distance",
    "point_distance",
    "ramanujan_perimeter",
    "register",
    "regularise_axes",
    "symphysis_ends",
    "tangent_point",
    "to_mm",
    "turn_difference",
    "turn_of_progression",
    "voxel_spacing",
]
