"""One suite for all stores of keys, each on the real thing."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
import redis

from supervisor.plugin import Claim, WorkerContext
from supervisor.plugin.errors import PluginError
from supervisor.plugin.options import build_options
from supervisor_plugins import idempotency_postgresql
from supervisor_plugins.idempotency_postgresql import PostgresqlStore
from supervisor_plugins.idempotency_redis import RedisStore
from supervisor_plugins.idempotency_sqlite import SqliteStore
from tests.servers.processes import PostgresqlServer, RedisServer
from tests.waiting import wait_until

STORES = ("sqlite", "redis", "postgresql")
CLASSES: dict[str, Any] = {"sqlite": SqliteStore, "redis": RedisStore, "postgresql": PostgresqlStore}
MINE, BUSY, DONE = Claim


class Keys(Protocol):
    def claim(self, keys: list[str], token: str, lease: float) -> list[Claim]: ...
    def done(self, keys: list[str], ttl: float) -> None: ...
    def release(self, keys: list[str], token: str) -> None: ...


@pytest.fixture(params=STORES)
def options(request: pytest.FixtureRequest, tmp_path: Path, name: str) -> tuple[str, dict[str, Any]]:
    """Give a store's name, and options of a place that is this test's own."""
    if request.param == "sqlite":
        return "sqlite", {"path": str(tmp_path / "made" / "keys.sqlite")}
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        return "redis", {"url": server.url, "prefix": f"{name}:"}
    database: PostgresqlServer = request.getfixturevalue("postgresql_server")
    return "postgresql", {"dsn": database.dsn, "table": name[-40:]}


def opened(kind: str, options: dict[str, Any]) -> Any:
    cls = CLASSES[kind]
    return cls(build_options(kind, cls.Options, options))


@pytest.fixture
def store(options: tuple[str, dict[str, Any]]) -> Iterator[Keys]:
    made = opened(*options)
    yield made
    made.worker_stopping()


def test_a_key_is_claimed_by_one(store: Keys) -> None:
    assert store.claim(["k"], "a", 60) == [MINE]
    assert store.claim(["k"], "b", 60) == [BUSY]


def test_what_is_done_is_done_for_everybody(store: Keys) -> None:
    store.claim(["k"], "a", 60)
    store.done(["k"], 60)

    assert store.claim(["k"], "a", 60) == [DONE]
    assert store.claim(["k"], "b", 60) == [DONE]


def test_what_is_released_is_free_at_once(store: Keys) -> None:
    store.claim(["k"], "a", 60)
    store.release(["k"], "a")

    assert store.claim(["k"], "b", 60) == [MINE]


def test_nobody_releases_what_is_not_theirs_or_done(store: Keys) -> None:
    store.claim(["k", "l"], "a", 60)
    store.done(["l"], 60)
    store.release(["k", "l"], "b")
    store.release(["l"], "a")

    assert store.claim(["k", "l"], "c", 60) == [BUSY, DONE]


def test_a_claim_ends_with_its_lease(store: Keys) -> None:
    store.claim(["k"], "a", 0.05)

    wait_until(lambda: store.claim(["k"], "b", 60) == [MINE], 10)
    assert store.claim(["k"], "a", 60) == [BUSY]


def test_who_has_a_claim_renews_it(store: Keys) -> None:
    store.claim(["k"], "a", 0.05)
    assert store.claim(["k"], "a", 60) == [MINE]

    assert store.claim(["k", "other"], "b", 60) == [BUSY, MINE]


def test_what_was_done_is_forgotten_after_its_time(store: Keys) -> None:
    store.done(["k"], 0.05)

    wait_until(lambda: store.claim(["k"], "b", 60) == [MINE], 10)


def test_what_was_worked_past_its_lease_is_done_all_the_same(store: Keys) -> None:
    store.claim(["k"], "a", 0.001)
    wait_until(lambda: store.claim(["k"], "b", 60) == [MINE], 10)
    store.done(["k"], 60)

    assert store.claim(["k"], "b", 60) == [DONE]


def test_many_keys_are_answered_in_their_order(store: Keys) -> None:
    store.claim(["b", "d"], "other", 60)
    store.done(["d"], 60)

    assert store.claim(["a", "b", "c", "d"], "me", 60) == [MINE, BUSY, MINE, DONE]


@pytest.mark.parametrize("key", ["ä'\"\\%s", "g/" + "x" * 200, "{a}:b*?", ""])
def test_keys_are_any_text(store: Keys, key: str) -> None:
    assert store.claim([key], "a", 60) == [MINE]
    store.done([key], 60)
    assert store.claim([key], "b", 60) == [DONE]


def test_what_one_store_says_another_one_of_the_same_place_hears(
    store: Keys, options: tuple[str, dict[str, Any]]
) -> None:
    store.claim(["k", "l"], "a", 60)
    store.done(["l"], 60)

    second = opened(*options)
    try:
        assert second.claim(["k", "l"], "b", 60) == [BUSY, DONE]
    finally:
        second.worker_stopping()


CLAIMER = """
import json, sys
from tests.plugins.test_idempotency_stores import opened
kind, options, token = json.loads(sys.argv[1])
store = opened(kind, options)
print("ready", flush=True)
sys.stdin.readline()
mine = [n for n in range(200) if store.claim([str(n)], token, 60) == ["mine"]]
print(json.dumps(mine), flush=True)
"""


def test_processes_that_claim_at_once_never_share_a_key(options: tuple[str, dict[str, Any]]) -> None:
    import json  # noqa: PLC0415 - as in CLAIMER

    claimers = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, json.dumps([*options, token])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        for token in "abc"
    ]
    for one in claimers:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in claimers:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    said = [one.communicate(timeout=60)[0] for one in claimers]
    claimed = [json.loads(one) for one in said]

    assert sorted(number for mine in claimed for number in mine) == list(range(200))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("sqlite", {"path": "/proc/none/keys.sqlite"}),
        ("redis", {"url": "redis://127.0.0.1:1/0"}),
        ("postgresql", {"dsn": "host=127.0.0.1 port=1"}),
    ],
)
def test_a_store_that_is_away_raises(kind: str, options: dict[str, Any]) -> None:
    store = opened(kind, options)

    for hook, arguments in (("claim", (["k"], "a", 1)), ("done", (["k"], 1)), ("release", (["k"], "a"))):
        with pytest.raises(Exception, match=r"refused|unable|No such file|connect"):
            getattr(store, hook)(*arguments)
    store.worker_stopping()


@pytest.mark.parametrize("server_class", [RedisServer, PostgresqlServer])
def test_a_server_that_came_back_is_asked_again_by_the_same_store(server_class: Callable[[], Any]) -> None:
    with server_class() as server:
        kind, where = (
            ("redis", {"url": server.url}) if server_class is RedisServer else ("postgresql", {"dsn": server.dsn})
        )
        store = opened(kind, where)
        store.claim(["k"], "a", 60)
        store.done(["k"], 60)
        server.stop()
        with pytest.raises(Exception, match=r"refused|connect|closed|terminat"):
            store.claim(["k"], "b", 60)
        server.start()

        assert store.claim(["k", "l"], "b", 60) == [DONE, MINE], "what it was told it still knows"
        store.worker_stopping()


@pytest.mark.parametrize("server_class", [RedisServer, PostgresqlServer])
def test_a_connection_that_died_while_idle_is_not_noticed(server_class: Callable[[], Any]) -> None:
    with server_class() as server:
        kind, where = (
            ("redis", {"url": server.url}) if server_class is RedisServer else ("postgresql", {"dsn": server.dsn})
        )
        store = opened(kind, where)
        store.claim(["k"], "a", 60)
        server.stop()
        server.start()

        assert store.claim(["k"], "b", 60) == [BUSY]
        store.worker_stopping()


def test_the_file_is_of_the_supervisors_folder_and_its_owner_alone_reads_it(context: WorkerContext) -> None:
    store = opened("sqlite", {})
    store.worker_started(context)
    store.claim(["k"], "a", 1)

    file = Path(context.state_dir) / "idempotency.sqlite"
    assert file.stat().st_mode & 0o777 == 0o600
    store.worker_stopping()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_table_does_not_grow_faster_than_what_is_old_is_deleted(
    kind: str, tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    where = {"path": str(tmp_path / "keys.sqlite")}
    if kind == "postgresql":
        where = {"dsn": request.getfixturevalue("postgresql_server").dsn, "table": name[-40:]}
    store = opened(kind, where)

    for batch in range(8):
        keys = [f"{batch}-{number}" for number in range(3000)]
        store.claim(keys, "a", 60)
        store.done(keys, -1)

    left = store._run("select count(*) from {table}") if kind == "postgresql" else rows_of(store)
    store.worker_stopping()
    assert int(*left) <= 6000


def rows_of(store: SqliteStore) -> tuple[int]:
    assert store._database is not None
    count: tuple[int] = store._database.execute("select count(*) from keys").fetchone()
    return count


def test_a_table_that_cannot_be_tidied_is_no_store_that_is_down(
    postgresql_server: PostgresqlServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency_postgresql, "FORGET", "select 1 / 0")
    store = opened("postgresql", {"dsn": postgresql_server.dsn, "table": name[-40:]})

    assert store.claim([str(number) for number in range(2000)], "a", 60) == [MINE] * 2000
    store.worker_stopping()


def test_p8_a_postgresql_that_hangs_is_given_up_in_time(postgresql_server: PostgresqlServer, name: str) -> None:
    where = {"dsn": postgresql_server.dsn, "table": name[-40:], "connections": 1, "timeout": 20.0}
    store = opened("postgresql", where)
    (pid,) = store._run("select pg_backend_pid()")
    store._idle[0].timeout = 0.2

    os.kill(int(pid), signal.SIGSTOP)
    with ThreadPoolExecutor(1) as beside:
        asked = beside.submit(store.claim, ["k"], "a", 60)
        try:
            with pytest.raises(Exception, match="no answer"):
                asked.result(20)
            assert store.claim(["l"], "a", 60) == [MINE], "by another connection"
        finally:
            os.kill(int(pid), signal.SIGCONT)
    store.worker_stopping()


def test_postgresql_heeds_the_options_of_its_dsn(postgresql_server: PostgresqlServer, name: str) -> None:
    schema = f"s{name.rpartition('-')[2]}"
    setting_up = opened("postgresql", {"dsn": postgresql_server.dsn})
    setting_up._run(f"create schema {schema}")
    setting_up.worker_stopping()

    store = opened("postgresql", {"dsn": f"{postgresql_server.dsn} options='-c search_path={schema}'", "timeout": 7.0})
    store.claim(["k"], "a", 60)

    assert store._run("select schemaname from pg_tables where tablename = 'supervisor_keys'") >= {schema}
    assert store._run("show statement_timeout") == {"7s"}
    store.worker_stopping()


def test_a_table_that_is_gone_is_made_again(postgresql_server: PostgresqlServer, name: str) -> None:
    store = opened("postgresql", {"dsn": postgresql_server.dsn, "table": name[-40:]})
    store.claim(["k"], "a", 60)
    store._run("drop table {table}")

    with pytest.raises(psycopg.errors.UndefinedTable):
        store.claim(["k"], "b", 60)
    assert store.claim(["k"], "b", 60) == [MINE]
    store.worker_stopping()


@pytest.mark.parametrize("table", ["", "shop.", "a.b.c", "x" * 58, "a\0b"])
def test_a_table_that_cannot_be_is_refused_at_once(table: str) -> None:
    with pytest.raises(PluginError, match="table"):
        opened("postgresql", {"dsn": "host=127.0.0.1", "table": table})


def test_the_name_of_a_table_is_never_run(postgresql_server: PostgresqlServer) -> None:
    odd = 'a"; drop table pg_class; --'
    store = opened("postgresql", {"dsn": postgresql_server.dsn, "table": odd})

    assert store.claim(["k"], "a", 60) == [MINE]
    assert store._run("select relname from pg_class where relname like 'a\"%%table%%--'") == {odd}
    store.worker_stopping()


@pytest.mark.parametrize(
    "options", [{"settings": {"nonsense": 1}}, {"url": "redis://:geheim@127.0.0.1:1/0?nonsense=1"}]
)
def test_settings_that_redis_does_not_know_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nonsense") as caught:
        opened("redis", options)

    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "settings"), [("?decode_responses=true", {}), ("", {"decode_responses": True}), ("?protocol=3", {})]
)
def test_a_redis_whose_answers_are_read_otherwise_says_the_same(
    redis_server: RedisServer, name: str, query: str, settings: dict[str, Any]
) -> None:
    store = opened("redis", {"prefix": f"{name}:", "url": redis_server.url + query, "settings": settings})

    assert store.claim(["done", "claimed"], "a", 60) == [MINE, MINE]
    store.done(["done"], 60)
    assert store.claim(["done", "claimed", "new"], "b", 60) == [DONE, BUSY, MINE]
    assert store.claim(["claimed"], "a", 60) == [MINE]
    store.release(["claimed"], "a")
    assert store.claim(["claimed"], "b", 60) == [MINE]
    store.worker_stopping()


def test_a_redis_that_became_a_replica_is_left_for_whoever_has_its_name_now() -> None:
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        store = opened("redis", {"url": server.url, "settings": {"client_name": "store"}})
        store.claim(["k"], "a", 60)

        def connections() -> set[str]:
            return {one["id"] for one in client.client_list() if one["name"] == "store"}

        before = connections()
        client.replicaof("127.0.0.1", 1)  # whose old address a failover gave to another: old connections stay
        for hook, arguments in (("claim", (["l"], "a", 1)), ("done", (["l"], 1)), ("release", (["k"], "a"))):
            with pytest.raises(redis.ResponseError, match=r"READONLY|read only"):
                getattr(store, hook)(*arguments)
            assert not before & (before := connections())
        client.replicaof("NO", "ONE")

        assert store.claim(["k", "l"], "b", 60) == [BUSY, MINE]
        store.worker_stopping()


def test_sqlite_deletes_what_it_need_not_know_any_more(tmp_path: Path) -> None:
    store = opened("sqlite", {"path": str(tmp_path / "keys.sqlite")})
    store.done(["old"], -1)
    store.claim(["new"], "a", 60)

    with store.enter() and suppress(Exception):
        pass
    rows = store._database.execute("select key from keys").fetchall()
    store.leave(commit=True)
    store.worker_stopping()
    assert rows == [("new",)]


def test_postgresql_deletes_what_it_need_not_know_any_more(postgresql_server: PostgresqlServer, name: str) -> None:
    store = opened("postgresql", {"dsn": postgresql_server.dsn, "table": name[-40:]})
    store.done(["old"], -1)

    store.claim([str(number) for number in range(1000)], "a", 60)

    assert store._run("select count(*) from {table} where key = 'old'") == {"0"}
    store.worker_stopping()


def test_postgresql_needs_no_right_to_make_a_table_that_is_there(
    postgresql_server: PostgresqlServer, name: str
) -> None:
    table = name[-40:]
    first = opened("postgresql", {"dsn": postgresql_server.dsn, "table": table})
    first.claim(["k"], "a", 60)
    role = f"r{name.rpartition('-')[2]}"
    first._run(f"create role {role} login")
    first._run(f"grant select, insert, update, delete on {{table}} to {role}")
    first.worker_stopping()

    store = opened("postgresql", {"dsn": postgresql_server.dsn.replace("user=shop", f"user={role}"), "table": table})

    assert store.claim(["k"], "b", 60) == [BUSY]
    store.worker_stopping()


def test_secrets_of_stores_are_in_no_repr_and_no_complaint() -> None:
    assert "geheim" not in repr(build_options("redis", RedisStore.Options, {"url": "redis://:geheim@h/0"}))
    with pytest.raises(PluginError) as caught:
        opened("postgresql", {"dsn": "geheim geheim"})
    assert "geheim" not in str(caught.value)
