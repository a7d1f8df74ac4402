"""Protocol versions whose records enter no leaderboard, each with reason and date: a list kept as data."""

from __future__ import annotations

import datetime as dt
import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING

import pydantic

from ddbench.errors import BadRequest, DataMissing

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = "quarantine.toml"


class Quarantined(pydantic.BaseModel, frozen=True, extra="forbid"):
    """One protocol version that is not trusted any more."""

    protocol: str
    sha256: str = pydantic.Field("", pattern=r"^([0-9a-f]{8,64})?$")
    """Beginning of the recipe's hash; empty for every recipe of that name."""
    reason: str = pydantic.Field(min_length=1, max_length=500)
    date: dt.date

    def holds(self, protocol: str, sha256: str) -> bool:
        """Return whether a record of this protocol is meant."""
        return self.protocol == protocol and sha256.startswith(self.sha256)


class _File(pydantic.BaseModel, frozen=True, extra="forbid"):
    quarantined: tuple[Quarantined, ...] = ()


def shipped() -> tuple[Quarantined, ...]:
    """Return the list that comes with ddbench."""
    return _read(files("ddbench.report.site").joinpath(SHIPPED).read_text("utf-8"), SHIPPED)


def read_quarantine(path: Path) -> tuple[Quarantined, ...]:
    """Return the list in a file.

    Raises:
        DataMissing: The file cannot be read.
        BadRequest: It is not such a list.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataMissing(f"no quarantine list at {path}: {error}") from error
    return _read(text, str(path))


def _read(text: str, name: str) -> tuple[Quarantined, ...]:
    try:
        return _File.model_validate(tomllib.loads(text)).quarantined
    except (tomllib.TOMLDecodeError, pydantic.ValidationError) as error:
        first = " ".join(str(error).split())[:200]
        raise BadRequest(
            f"{name} is no quarantine list ({first}); it needs [[quarantined]] tables with protocol, reason, date"
        ) from error
