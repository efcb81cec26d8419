"""`unbinding keys`: makes the key rings that seal requests and fingerprint tokens."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from worker.oncall.options import Json
from worker.oncall.outside import outside_of
from worker.oncall.settings_view import KeysNotWritten, write_new_keys
from worker.sealing import FILE_MODE, KeyFileInvalid, Purpose, new_key_file, write_key_file

keys = typer.Typer(help="Make keys.", add_completion=False, rich_markup_mode=None)


@keys.callback()
def _begin() -> None:
    """Make keys."""


@keys.command("new")
def new_command(
    context: typer.Context,
    *,
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="The file to make; without --kind the directory for both.")
    ],
    kind: Annotated[
        Purpose | None,
        typer.Option("--kind", help="What the keys of the file are for; without it: both files."),
    ] = None,
    key_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Id of the new key; else this month.")
    ] = None,
    json: Json = False,
) -> None:
    """Make new key rings, each with one key, readable by you alone; nothing is ever overwritten.

    Keep them as long as anything that was sealed with them: a lost key makes sealed requests unreadable.

    Example:
      unbinding keys new /etc/unbinding/keys
      unbinding keys new --kind sealing sealing.toml
    """
    outside = outside_of(context)
    terminal = outside.terminal()
    name = key_id or datetime.fromtimestamp(outside.now() / 1000, UTC).strftime("%Y-%m")
    made = write_new_keys(path, key_id=name) if kind is None else {kind: _one(path, kind, key_id=name)}
    setting = {Purpose.SEALING: "sealing.keys_file", Purpose.FINGERPRINTS: "sealing.fingerprint_keys_file"}
    for purpose, written in made.items():
        if json:
            terminal.data(
                {"kind": purpose.value, "path": str(written), "key": name, "setting": setting[purpose]}
            )
        else:
            terminal.show_line(f"{written}: key {name} for {purpose.value}; set {setting[purpose]} to it")


def _one(path: Path, kind: Purpose, *, key_id: str) -> Path:
    try:
        text = write_key_file(new_key_file(purpose=kind, key_id=key_id))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    except KeyFileInvalid as error:
        raise KeysNotWritten(f"no key ring was made: {error}") from None
    except FileExistsError:
        raise KeysNotWritten(
            f"{path} exists already: a lost key makes sealed requests unreadable for ever, so nothing is "
            "overwritten; choose another name"
        ) from None
    except OSError as error:
        raise KeysNotWritten(
            f"no key ring was made at {path}: {error.strerror}; check that the directory exists and may be "
            "written to"
        ) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    return path
