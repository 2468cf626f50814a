"""Keys of worked records in Redis, for the workers of many hosts. Needs the extra ``redis``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.retry import Retry

from supervisor.plugin import Claim, Seconds, hookimpl

CLAIM = """
local value = redis.call('GET', KEYS[1])
if not value or value == ARGV[1] then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return 1
end
return value == 'done' and 2 or 0
"""
CLAIMS = (Claim.BUSY, Claim.MINE, Claim.DONE)
"""What the script's answers mean: numbers, which no ``decode_responses`` makes something else of."""
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"
DONE = b"done"


class RedisStore:
    """One key of Redis per key, its value the token that claimed it, or ``done``; Redis forgets them itself."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """``prefix`` stands before every key; ``timeout`` bounds each question; ``settings`` are redis-py's own."""

        url: str = field(default="redis://127.0.0.1:6379/0", repr=False)
        prefix: str = "supervisor:"
        timeout: Seconds = 5.0
        settings: dict[str, Any] = field(default_factory=dict, repr=False)

    def __init__(self, options: Options) -> None:
        self._prefix = options.prefix
        ours = {
            "socket_timeout": options.timeout,
            "socket_connect_timeout": options.timeout,
            "retry": Retry(NoBackoff(), 1),  # an idle connection may be dead; who waits longer is the record
        }
        try:
            self._redis = redis.Redis.from_url(options.url, **{**ours, **options.settings})
        except ValueError:  # its text may hold what was taken for the port: the first half of a password
            text = "url must begin with redis://, rediss:// or unix://; in a password write %2F %23 %3F for / # ?"
            raise ValueError(text) from None
        try:
            self._redis.connection_pool.make_connection()  # connects to nothing yet
        except TypeError as error:
            text = f"settings, or the end of the url, have what redis-py does not know: {error}"
            raise ValueError(text) from None
        self._claim = self._redis.register_script(CLAIM)
        self._release = self._redis.register_script(RELEASE)

    @hookimpl
    def worker_stopping(self) -> None:
        """Close the connections."""
        self._redis.close()

    @hookimpl
    def claim(self, keys: Sequence[str], token: str, lease: float) -> list[Claim]:
        """Claim all of the keys in one round trip, each by itself."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                self._claim(keys=[self._prefix + key], args=[token, _milliseconds(lease)], client=pipeline)
            return [CLAIMS[answer] for answer in self._answers(pipeline)]

    @hookimpl
    def done(self, keys: Sequence[str], ttl: float) -> None:
        """Remember the keys in one round trip."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.set(self._prefix + key, DONE, px=_milliseconds(ttl))
            self._answers(pipeline)

    @hookimpl
    def release(self, keys: Sequence[str], token: str) -> None:
        """Forget claims in one round trip."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                self._release(keys=[self._prefix + key], args=[token], client=pipeline)
            self._answers(pipeline)

    def _answers(self, pipeline: "Pipeline") -> list[Any]:
        """Ask what is in a pipeline. After a no others connect anew: who became a replica would say so for ever."""
        try:
            answers: list[Any] = pipeline.execute()
        except redis.ResponseError:
            self._redis.connection_pool.disconnect(inuse_connections=False)
            raise
        return answers


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
