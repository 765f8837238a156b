"""YOLO folders, read as Ultralytics reads them and written so that it does."""

from aop_pose.formats.yolo.data_yaml import label_path
from aop_pose.formats.yolo.folder import (
    YOLO_DETECT,
    YOLO_POSE,
    boxes_of,
    parse_pose_line,
    read_yolo_detect,
    read_yolo_pose,
    write_yolo_detect,
    write_yolo_pose,
)

__all__ = [
    "YOLO_DETECT",
    "YOLO_POSE",
    "boxes_of",
    "label_path",
    "parse_pose_line",
    "read_yolo_detect",
    "read_yolo_pose",
    "write_yolo_detect",
    "write_yolo_pose",
]
