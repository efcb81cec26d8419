"""What all sections of the settings share: the form of the model, and the kinds of leaf."""

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from worker.settings.units import (
    Duration,
    base_url,
    decimal_number,
    file_path,
    host_and_port,
    plain_text,
    url_path,
    whole_number,
)

_NAME_RULE: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


def _plain_name(value: str) -> str:
    if not _NAME_RULE.fullmatch(value):
        raise ValueError("is no name: use 1 to 100 letters, digits, '.', '_' and '-'")
    return value


def _name_or_nothing(value: str) -> str:
    return value if value == "" else _plain_name(value)


FilePath = Annotated[Path, BeforeValidator(file_path)]
BaseUrl = Annotated[str, AfterValidator(base_url)]
HostAndPort = Annotated[str, AfterValidator(host_and_port)]
Name = Annotated[str, AfterValidator(_plain_name)]
NameOrNothing = Annotated[str, AfterValidator(_name_or_nothing)]
Number = Annotated[float, BeforeValidator(decimal_number)]
Text = Annotated[str, AfterValidator(plain_text)]
UrlPath = Annotated[str, AfterValidator(url_path)]
Wait = Annotated[int, Duration(at_least="1ms", at_most="30d")]
Whole = Annotated[int, BeforeValidator(whole_number)]


class Section(BaseModel):
    """A section of the tree: frozen, without unknown names; its leaves are documented by their docstrings."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )
