"""The tables of ``[groups.NAME.retry]`` as pydantic models; see ``models``."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from supervisor.config.tables import Table
from supervisor.config.tables import key as _key
from supervisor.config.values import (
    Delays,
    Duration,
    ExceptionClass,
    Exceptions,
    Factor,
    RetryTemplate,
    Share,
    as_list,
)

Then = Literal["dead-letter", "drop", "crash", "pause", "topic"]
_ATTEMPTS = "How often a record is tried, the first time included."
_INITIAL = "The wait before the second attempt."
_FACTOR = "What each further wait is multiplied by."
_MAX = "The longest wait between two attempts."
_JITTER = "The share of a wait that chance may take away: 0 none, 1 all."
_THEN = "What becomes of a record when all attempts failed; `crash` the worker, `pause` the group, a retry `topic`."
_AS_AROUND = {"default_text": "that of the group"}


class RetryRule(Table):
    """How failures with one exception class are treated; what it does not say is as in the table around it."""

    error: ExceptionClass = _key(description="The exception class (`module:Class`), a base of it, or of its cause.")
    attempts: int | None = _key(None, ge=1, le=1000, description=_ATTEMPTS, json_schema_extra=_AS_AROUND)
    initial: Duration | None = _key(None, description=_INITIAL, json_schema_extra=_AS_AROUND)
    factor: Factor | None = _key(None, description=_FACTOR, json_schema_extra=_AS_AROUND)
    max: Duration | None = _key(None, description=_MAX, json_schema_extra=_AS_AROUND)
    jitter: Share | None = _key(None, description=_JITTER, json_schema_extra=_AS_AROUND)
    then: Then | None = _key(None, description=_THEN, json_schema_extra=_AS_AROUND)


class Retry(Table):
    """What becomes of a failed record when no plugin decides: wait, try again, in the end a dead letter."""

    attempts: int = _key(5, ge=1, le=1000, description=_ATTEMPTS)
    initial: Duration = _key("200ms", description=_INITIAL)
    factor: Factor = _key(2.0, description=_FACTOR)
    max: Duration = _key("30s", description=_MAX)
    jitter: Share = _key(1.0, description=_JITTER)
    permanent: Exceptions = _key((), description="Exception classes (`module:Class`) that are never tried again.")
    then: Then | None = _key(
        None,
        description=_THEN + ' With `topics` the default is `"topic"`.',
        json_schema_extra={"default_text": '"dead-letter"'},
    )
    topics: Delays = _key(
        (), description="How long records wait in retry topics, rising; one that fails after the last is a dead letter."
    )
    topic: RetryTemplate = _key(
        "{topic}.retry.{delay}", description="What retry topics are called; `{group}` keeps groups apart."
    )
    reorder: bool = _key(default=False, description="Whether retry topics may break the order of `ordering`.")
    rules: Annotated[tuple[RetryRule, ...], BeforeValidator(as_list)] = _key(
        (), description="Other ways for some exception classes; the first that fits an exception holds."
    )
