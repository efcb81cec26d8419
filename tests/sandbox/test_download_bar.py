import io

from rich.console import Console

from worker.sandbox.download_bar import download_bar


def shown(*steps: tuple[int, int]) -> str:
    """Return what a terminal gets during these steps of a download."""
    terminal = io.StringIO()
    with download_bar(Console(file=terminal, force_terminal=True, width=100)) as progress:
        for there, total in steps:
            progress(there, total)
    return terminal.getvalue()


def test_nothing_is_shown_where_nothing_is_downloaded() -> None:
    """A bar that has nothing to tell does not appear."""
    assert shown() == ""


def test_a_download_shows_how_far_it_is() -> None:
    """The bar names what comes, how much there is, and of how much."""
    assert "Apache Kafka" in shown((0, 45_000_000), (22_500_000, 45_000_000))
    assert "22.5/45.0 MB" in shown((0, 45_000_000), (22_500_000, 45_000_000))
