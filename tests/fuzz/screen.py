"""What people see: rendered as for a terminal, and what must not be in it."""

from __future__ import annotations

import io
import re
from typing import Any, Final

from hypothesis import strategies as st

from tests.fuzz.grammar import BIDI, CONTROL, odd_text
from worker.oncall.terminal import Terminal, console

MARKUP: Final = ("[red]", "[/red]", "[/]", "[link=https://x.example]", ":smile:", "[bold", "\\[")
OWN_CODES: Final = re.compile("\x1b\\[[0-9;]*m")
"""What a terminal is sent by us: colours, and nothing that moves or asks."""


def hostile() -> st.SearchStrategy[str]:
    """Texts that would change what a person sees: colours, cursor, title, direction, markup."""
    return (
        st.text(alphabet=st.sampled_from(CONTROL + BIDI + "ab[]/;31m"), min_size=1, max_size=12)
        | st.sampled_from(MARKUP)
        | st.sampled_from(
            ("\x1b[2J", "\x1b]0;owned\x07", "\x9b2J", "\rforged line", "safe\u202etxt.exe", "a\nb")
        )
        | odd_text()
    )


def check_screen(shown: str) -> None:
    """See that what goes to a terminal moves no cursor, turns no text and hides nothing."""
    rest = OWN_CODES.sub("", shown)
    bad = {hex(ord(char)) for char in rest if char in CONTROL + BIDI or (ord(char) < 32 and char != "\n")}
    assert not bad, f"reaches the terminal: {sorted(bad)}"
    rest.encode("utf-8")


def screen(*renderables: Any, width: int = 80, colours: bool = True) -> str:
    """Return what a terminal of this width is sent."""
    page = io.StringIO()
    shows = console(page)
    shows.width = width
    if colours:
        shows._force_terminal = True  # noqa: SLF001 - as if a person looked
    terminal = Terminal(out=shows, err=shows, ask=None)
    for renderable in renderables:
        terminal.show(renderable)
    return page.getvalue()


def data_lines(*lines: dict[str, object]) -> str:
    """Return what a program that reads our JSON Lines is sent."""
    page = io.StringIO()
    terminal = Terminal(out=console(page), err=console(page), ask=None)
    for line in lines:
        terminal.data(line)
    return page.getvalue()
