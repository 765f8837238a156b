"""The published split of a public data set: its name lists and the converted labels make the label files.

Every list `NAME.txt` becomes `NAME.csv`, the rows of `labels.csv` in the order of the list. `unlabelled.txt` is copied
as it is; its rows go to `unlabelled_answers.csv`, which is for measuring alone.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.csv_rows import read_list
from aop_pose.io.files import replacing

LABELS = "labels.csv"
UNLABELLED, ANSWERS = "unlabelled.txt", "unlabelled_answers.csv"


def make_splits(data: Path, lists: Path) -> dict[str, int]:
    """Write the label files into ``data``; returns the rows of each by its name.

    UsageError where there is no list or no label file, a name has no row, or a name stands in two lists.
    """
    header, rows = _rows(data / LABELS)
    names = {file.name: read_list(file) for file in sorted(lists.glob("*.txt"))}
    if not names:
        raise UsageError(f"{lists}: expected lists of file names (NAME.txt), found none")
    seen: dict[str, str] = {}
    for file, listed in names.items():
        for name in listed:
            if name in seen:
                raise UsageError(f"{lists / file}: expected each frame in one list, found {name} in {seen[name]} too")
            if name not in rows:
                raise UsageError(
                    f"{data / LABELS}: expected a row for {name} of {file}, found none; convert all frames"
                )
            seen[name] = file
    written = {}
    for file, listed in names.items():
        target = ANSWERS if file == UNLABELLED else f"{file.removesuffix('.txt')}.csv"
        with replacing(data / target) as part, open(part, "w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(header)
            table.writerows(rows[name] for name in listed)
        written[target] = len(listed)
        if file == UNLABELLED:
            with replacing(data / file) as part:
                part.write_text("".join(f"{name}\n" for name in listed), encoding="utf-8")
            written[file] = len(listed)
    return written


def _rows(file: Path) -> tuple[list[str], dict[str, list[str]]]:
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            header, *rows = csv.reader(stream)
        return header, {row[header.index("Filename")]: row for row in rows if row}
    except OSError as error:
        raise UsageError(f"{file}: expected the labels of dataset convert, found {error.strerror}") from None
    except (ValueError, IndexError):
        raise UsageError(f"{file}: expected the labels of dataset convert, found no column Filename") from None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/make_splits.py psfhs --lists datasets/splits/psfhs",
    )
    parser.add_argument("data", type=Path, help="folder that aop-pose dataset convert --to iugc wrote")
    parser.add_argument("--lists", type=Path, required=True, help="folder of name lists, a name a line")
    arguments = parser.parse_args()
    try:
        for name, count in make_splits(arguments.data, arguments.lists).items():
            print(f"{arguments.data / name}: {count} frames")
    except AopPoseError as error:
        print(f"make_splits: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
