"""``python -m aop_pose`` is the command ``aop-pose``."""

from aop_pose.cli.main import main

if __name__ == "__main__":
    main()
