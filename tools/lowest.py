"""Print the lowest stated version of every dependency, a line each, as pip takes constraints.

python tools/lowest.py > lowest.txt && pip install . -c lowest.txt
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:  # what pip itself reads its files with
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]


def lowest(project: dict) -> list[str]:
    """``name==version`` for every dependency of the base install."""
    return [re.sub(r">=", "==", each) for each in project["project"]["dependencies"]]


if __name__ == "__main__":
    print("\n".join(lowest(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")))))
