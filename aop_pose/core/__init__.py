"""The nouns: what an image, a point and a measurement are."""

from aop_pose.core import schemas as schemas
