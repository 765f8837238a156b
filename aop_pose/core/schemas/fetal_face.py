"""Schema ``fetal_face``: the middle of the brain and both eyes, in a volume."""

from aop_pose.core.schema import Quantity, Schema, length

FETAL_FACE = Schema(
    name="fetal_face",
    points=("brain", "left_eye", "right_eye"),
    lines=(("brain", "left_eye"), ("brain", "right_eye"), ("left_eye", "right_eye")),
    quantities=(Quantity("eye_distance", "mm", "eye distance", length, ("left_eye", "right_eye"), main=True),),
    dimensions=3,
    symmetric=(("left_eye", "right_eye"),),
    groups=(("brain", ("brain",)), ("left_eye", ("left_eye",)), ("right_eye", ("right_eye",))),
)
