"""What all tables of ``supervisor.toml`` have in common."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

# Untyped on purpose: a default stands as a person would write it ("5m") and is validated like the rest.
key: Any = Field


class Table(BaseModel):
    """One table: strict, frozen, no key that is not listed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True)
