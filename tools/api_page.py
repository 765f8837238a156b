"""Write ``docs/api.md``: every public name of the package, from its docstring.

    python tools/api_page.py > docs/api.md

The text of a field is the string that stands below it in its class.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import aop_pose
from aop_pose.core.schema import Schema

HEAD = """# Reference

What `import aop_pose` gives, generated from the docstrings (`python tools/api_page.py > docs/api.md`).
[Python](python.md) shows how it is used. These names change only with a line in the [change log](../CHANGELOG.md).
"""
EXAMPLE = re.compile(r"^(?:Examples?:\s*)?(?=>>> )|^Examples?:\s*$", re.MULTILINE)
SECTION = re.compile(r"^(Args|Returns|Raises|Yields):$", re.MULTILINE)
ENTRY = re.compile(r"^(\*{0,2}[\w., ]+|[\w.]+ or [\w.]+): (.*)$", re.DOTALL)


def plain(text: str) -> str:
    """Text on one line, in the page's marks of code."""
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip()


def entries(body: str) -> Iterator[str]:
    """The lines of ``Args:``, ``Returns:`` or ``Raises:``, one for each name."""
    for part in re.split(r"\n(?=\S)", textwrap.dedent(body.strip("\n"))):
        found = ENTRY.match(part)
        yield f"- `{found[1]}`: {plain(found[2])}" if found else f"- {plain(part)}"


def prose(text: str) -> str:
    """A docstring as the page has it."""
    said, *examples = EXAMPLE.split(text, maxsplit=1)
    first, *sections = SECTION.split(said)
    parts = [plain(one) for one in first.strip().split("\n\n")]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        parts.append(f"{title}:\n\n" + "\n".join(entries(body)))
    parts += [f"```python\n{inspect.cleandoc(one)}\n```" for one in examples]
    return "\n\n".join(parts)


def argument(one: inspect.Parameter) -> str:
    """A parameter with its type and its default; a default that is a function has no text of its own."""
    name = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "") + one.name
    typed = "" if one.annotation is one.empty else f": {one.annotation}"
    default = "..." if callable(one.default) else repr(one.default)
    return name + typed + ("" if one.default is one.empty else f" = {default}")


def signature(of: Any) -> str:
    """The arguments of a function and what it returns, a line each where they are many."""
    found = inspect.signature(of)
    told, starred = [], False
    for one in found.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not starred:
            told.append("*")
            starred = True
        if one.name not in ("self", "cls"):
            told.append(argument(one))
    end = "" if found.return_annotation is found.empty else f" -> {found.return_annotation}"
    line = f"({', '.join(told)}){end}"
    return line if len(line) < 100 else "(\n" + "".join(f"    {one},\n" for one in told) + f"){end}"


def fields(cls: type) -> Iterator[str]:
    """A line for each public field, in order, with the string below it."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)) or node.target.id.startswith(
            "_"
        ):
            continue
        said = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            said = f": {plain(after.value.value)}"
        yield f"- `{node.target.id}` (`{ast.unparse(node.annotation)}`){said}"


def methods(cls: type) -> Iterator[str]:
    """A line for each public method and property that has a docstring."""
    for name, member in vars(cls).items():
        of = member.__func__ if isinstance(member, classmethod) else member
        text = None if name.startswith("_") else inspect.getdoc(of)
        if isinstance(of, property) and text:
            yield f"- `{name}`: {plain(text)}"
        elif inspect.isfunction(of) and text:
            yield f"- `{name}{plain(signature(of))}`: {plain(SECTION.split(EXAMPLE.split(text)[0])[0])}"


def entry(name: str, value: Any) -> str:
    """What the page says of one name."""
    if isinstance(value, Schema):
        measured = ", ".join(f"`{one.name}`" for one in value.quantities)
        points = ", ".join(f"`{one}`" for one in value.points)
        return f"### `{name}`\n\nSchema `{value.name}`: points {points}; measured on them {measured or 'nothing'}.\n"
    if inspect.isclass(value):
        lines = [*fields(value), *methods(value)]
        return f"### `{name}`\n\n{prose(inspect.getdoc(value) or '')}\n" + "".join(
            ["\n", *(f"{one}\n" for one in lines)]
        )
    return f"### `{name}`\n\n```python\n{name}{signature(value)}\n```\n\n{prose(inspect.getdoc(value) or '')}\n"


def page() -> str:
    """The whole page: functions first, then classes, then schemas."""
    names = [name for name in aop_pose.__all__ if not name.startswith("__")]
    kinds = {
        "Functions": inspect.isfunction,
        "Classes": inspect.isclass,
        "Schemas": lambda one: isinstance(one, Schema),
    }
    parts = [HEAD]
    for title, fits in kinds.items():
        parts += [
            f"## {title}\n",
            *(entry(name, getattr(aop_pose, name)) for name in names if fits(getattr(aop_pose, name))),
        ]
    return "\n".join(parts)


def main() -> None:
    print(page(), end="")


if __name__ == "__main__":
    main()
