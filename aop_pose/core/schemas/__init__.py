"""The schemas of this project, a file each; another package adds its own by ``schema.register``."""

from aop_pose.core.schema import register
from aop_pose.core.schemas.aop import AOP
from aop_pose.core.schemas.fetal_face import FETAL_FACE
from aop_pose.core.schemas.fetus import FETUS
from aop_pose.core.schemas.head import HEAD

__all__ = ["AOP", "FETAL_FACE", "FETUS", "HEAD"]

for _schema in (AOP, HEAD, FETUS, FETAL_FACE):
    register(_schema)
