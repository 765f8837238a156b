"""Write ``docs/settings.md``: every ``--set`` key of every pipeline, with its default and its meaning.

    python tools/settings_table.py > docs/settings.md

The text comes from the configurations: default and meaning stand beside each field there.
"""

from __future__ import annotations

import re
from typing import Any, get_args

from pydantic.fields import FieldInfo

from aop_pose.pipelines import PIPELINES, pipeline_class

HEAD = """# Settings

Every key of `--set key=value` and of a file for `--preset`, generated from the code
(`python tools/settings_table.py > docs/settings.md`). The defaults are those of the configuration; a preset changes
some: `aop-pose train --method unet --preset best --show-config` prints what a run would have. *Stage* says which
command reads a key, where one alone does; a key that a command does not read is refused.
"""


def shown(value: Any) -> str:
    """A value as YAML has it, in a cell."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(shown, value)) + "]"
    return (
        {True: "true", False: "false", None: "null"}[value] if value is None or isinstance(value, bool) else str(value)
    )


def allowed(field: FieldInfo) -> str:
    """The values of a choice, in words; nothing where any number goes."""
    words = [one for one in get_args(field.annotation) if isinstance(one, str)]
    return f" One of {', '.join(f'`{word}`' for word in words)}." if words else ""


def rows(config: Any) -> list[str]:
    """The table of one configuration class."""
    stage_of = {key: stage for stage, keys in config.only.items() for key in keys}
    lines = ["| key | default | stage | meaning |", "| --- | --- | --- | --- |"]
    for key, field in sorted(config.model_fields.items()):
        meaning = re.sub(r"\s+", " ", (field.description or "").replace("``", "`")).replace("|", "\\|")
        lines.append(f"| `{key}` | `{shown(field.default)}` | {stage_of.get(key, '')} | {meaning}{allowed(field)} |")
    return lines


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for method in PIPELINES:
        cls = pipeline_class(method)
        presets = ", ".join(f"`{path.stem}`" for path in sorted(cls.presets().glob("*.yaml")))
        parts.append(f"## {method}\n\nPresets: {presets}; without `--preset`: `{cls.preset}`.\n")
        parts.append("\n".join(rows(cls.config)) + "\n")
    return "\n".join(parts)


def main() -> None:
    print(page(), end="")


if __name__ == "__main__":
    main()
