"""One line, whatever is quoted in it."""

import pytest

from aop_pose.errors import UnreadableError, UsageError, counted, printable


def test_a_message_is_one_line_whatever_it_quotes() -> None:
    assert str(UsageError("found 'a\nb\r\nc\x1b[31m'")) == "found 'a b c\\x1b[31m'"
    assert str(UnreadableError("Größe 5 µm")) == "Größe 5 µm"


def test_printable_twice_is_printable_once() -> None:
    for text in ("plain", "a\nb", "\udc80", "é\x00"):
        assert printable(printable(text)) == printable(text)
        assert printable(text).isprintable()


@pytest.mark.parametrize(("number", "words"), [(0, "0 frames"), (1, "1 frame"), (2, "2 frames")])
def test_one_is_one(number: int, words: str) -> None:
    assert counted(number, "frames") == words
