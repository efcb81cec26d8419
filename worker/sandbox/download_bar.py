"""Shows the download of Kafka's jars as a progress bar, and nothing where all jars are there already."""

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from worker.sandbox import kafka_download


@contextlib.contextmanager
def download_bar(console: Console) -> Iterator[kafka_download.Progress]:
    """Give the `progress` that `local_kafka` and `obtain_kafka` take; the bar appears with the first byte."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    task: TaskID | None = None

    def progress(there: int, total: int) -> None:
        nonlocal task
        if task is None:
            task = bar.add_task("Apache Kafka", total=total)
            bar.start()
        bar.update(task, completed=there)

    try:
        yield progress
    finally:
        bar.stop()
