"""A text that is made with rich reads as plain text, but for what was asked for."""

from __future__ import annotations

from rich.text import Text

from rttcheck.report.page import Page, plain_table


def page(*, width: int = 40, colour: bool = False) -> Page:
    return Page(width=width, least=20, colour=colour)


def test_a_line_is_kept_in_one_piece_with_all_its_brackets() -> None:
    made = page()
    command = "apt-get install [bold]x[/bold] " + "word " * 20 + "end"
    made.line(command)
    assert made.text == command


def test_what_is_printed_keeps_within_the_width_and_never_becomes_too_narrow() -> None:
    for width, expected in ((40, 40), (3, 20)):
        made = page(width=width)
        made.print("word " * 40)
        assert expected - 5 < max(map(len, made.text.splitlines())) <= expected


def test_a_table_has_no_blanks_at_its_lines_ends() -> None:
    made = page()
    table = plain_table()
    table.add_column("one")
    table.add_column("two")
    table.add_row("a", "")
    made.print(table)
    made.print()
    assert [line for line in made.text.splitlines() if line != line.rstrip()] == []
    assert not made.text.endswith("\n")


def test_colours_are_for_who_wants_them() -> None:
    for colour in (False, True):
        made = page(colour=colour)
        made.line(Text("found", style="green"))
        assert ("\x1b[32m" in made.text) is colour
