"""Text from strangers is made fit for a line, a terminal and a table."""

import pytest

from vitbench.wording import abridged, cleaned, plain


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("\x1b[31mred\x1b[0m and \x9b1mbold", "red and bold"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;without an end\nnext line", "next line"),
        ("\x1bcreset, \x1b(Bcharset, end \x1b", "reset, charset, end"),
        ("bell\x07, backspace\x08, null\x00, delete\x7f", "bell, backspace, null, delete"),
        ("one\r\ntwo\x85three\u2028four", "one two three four"),
        ("\u202egpj.exe\u202c", "⟨U+202E⟩gpj.exe⟨U+202C⟩"),
        ("\u200fעברית\u200e", "עברית"),
        ("[bold]markup[/bold] & <b>", "[bold]markup[/bold] & <b>"),
        (None, "None"),
    ],
)
def test_a_line_holds_nothing_that_commands_a_terminal(text: object, line: str) -> None:
    assert plain(text) == line


def test_lines_stay_lines_where_there_is_room() -> None:
    assert cleaned("one\r\n  two\rthree\x0bfour") == "one\n  two\nthree\nfour"


def test_what_is_too_long_is_cut_and_says_so() -> None:
    assert (abridged("abcdef", 6), abridged("abcdefg", 6)) == ("abcdef", "abcde…")
