"""The tables of ``supervisor.toml`` as pydantic models: every key, its default and its meaning.

These are the one place that says so: the JSON schema, ``docs/configuration.md`` and the table of
defaults are made from them. Nothing is converted behind a person's back (``strict``), nothing unknown
is let through, and a model never changes once it is made. Rules over several keys are in ``checks``: pydantic
would run them only once every single key is right, and a person would meet them one edit later.
"""

import sys
from typing import Literal

from supervisor.config.alerting import Alerting
from supervisor.config.flood_values import Rate, Ratio, ResumeAfter
from supervisor.config.limit_values import (
    Cpus,
    OptionalCores,
    OptionalCount,
    OptionalDuration,
    OptionalSize,
    Rlimits,
)
from supervisor.config.retry_tables import Retry
from supervisor.config.tables import Table
from supervisor.config.tables import key as _key
from supervisor.config.values import (
    Duration,
    Exceptions,
    Factor,
    Handler,
    KafkaTable,
    Listen,
    Modules,
    Name,
    OptionalPlugin,
    Plugin,
    Plugins,
    RecordKey,
    Share,
    Size,
    Timeout,
    Topics,
    TopicTemplate,
    Workers,
)


class Journal(Table):
    """How long and how much the event journal keeps; it is a file in ``state_dir``."""

    max_age: Timeout = _key("30d", description="How long events are kept.")
    max_size: Size = _key("100MiB", description="The size beyond which the oldest events are dropped.")


class Supervisor(Table):
    """The supervisor itself: its name, its folders, how it logs and whom it tells."""

    name: Name = _key(
        "",
        description="Part of every static member id; unique among the hosts that run the same groups.",
        json_schema_extra={"default_text": "the hostname"},
    )
    state_dir: str = _key(
        "",
        description="Folder that outlives restarts: dead letters, the event journal. Relative to the config file.",
        json_schema_extra={"default_text": "`$STATE_DIRECTORY`, else `state`"},
    )
    runtime_dir: str = _key(
        "",
        description="Folder for the control socket, the lock and the slot files, best on tmpfs.",
        json_schema_extra={"default_text": "`$RUNTIME_DIRECTORY`, else a folder of this config's own in `/dev/shm`"},
    )
    stop_timeout: Timeout = _key("30s", description="How long workers may drain when they are told to stop.")
    orphan_grace: Duration = _key("10s", description="How long a worker without its supervisor may drain.")
    log_format: Literal["text", "json"] = _key("text", description="Lines for people, or one JSON object per line.")
    log_level: Literal["debug", "info", "warning", "error"] = _key("info", description="The least urgent level shown.")
    alerts: Plugins = _key(("alert_log",), description="Plugins whose `alert` hook is told what happened.")
    start_method: Literal["fork", "exec"] = _key(
        "fork" if sys.platform == "linux" else "exec",
        description="Fork workers from a process that has imported everything (Linux), or start each from nothing.",
        json_schema_extra={"default_text": '"fork"'},
    )
    journal: Journal = _key(default_factory=Journal, description="How long and how much the event journal keeps.")
    lag_interval: Duration = _key(
        "5s", description="How often the brokers are asked for the groups' whole lag, at most; `0s`: never."
    )


class Http(Table):
    """Where `/metrics`, `/healthz` and `/readyz` are answered, to anybody who can connect."""

    listen: Listen = _key(
        "",
        description='Address and port of the HTTP listener: `"127.0.0.1:9464"`, `"[::1]:9464"`; empty: there is none.',
    )


class DeadLetters(Table):
    """Where records go that failed for good; their offsets move only after the sink has confirmed them."""

    sink: Plugin = _key("dlq_kafka", description="The plugin that writes dead letters.")
    fallback: OptionalPlugin = _key(
        "",
        description='The plugin that writes them when the sink cannot (`"dlq_file"`); empty: the sink is tried again.',
    )
    topic: TopicTemplate = _key("{topic}.dlq", description="The dead-letter topic; `{topic}` is the record's own.")
    timeout: Timeout = _key("30s", description="How long one attempt to write may take.")
    create: bool = _key(
        default=True,
        description="Whether workers make a dead-letter topic that is missing, with its source's partitions.",
    )
    headers: Literal["text", "spring", "connect"] = _key(
        "text", description="Whose header conventions letters follow: ours, Spring Kafka's, Kafka Connect's."
    )


class Breaker(Table):
    """What says that a dependency is down, and how often one record tries whether it is back; all others wait."""

    errors: Exceptions = _key(
        (), description="Exception classes (`module:Class`) that mean it, as `DependencyDownError` always does."
    )
    probe_initial: Timeout = _key(
        "500ms", description="The wait before the first try; each further one is twice as long."
    )
    probe_max: Timeout = _key("30s", description="The longest wait between two tries.")


class Flood(Table):
    """When so many records become dead letters that something else is wrong, and what happens then."""

    ratio: Ratio = _key(0.5, description="The share of settled records that are dead letters; `off`: whatever it is.")
    min_records: int = _key(
        100, ge=1, le=1_000_000, description="So many must have settled within `window` for `ratio`."
    )
    window: Timeout = _key("1m", description="How far back `ratio` looks.")
    consecutive: OptionalCount = _key(100, description="Dead letters of a worker in a row, nothing else between them.")
    rate: Rate = _key("off", description='Dead letters per second, minute or hour: `"100/m"`.')
    action: Literal["pause", "stop", "shed"] = _key(
        "pause", description="Begin no record; stop the group; or drop what would be a dead letter, counted and logged."
    )
    resume_after: ResumeAfter = _key(
        "5m", description="When a few records try whether it is over; `manual`: only `supervisor resume GROUP` ends it."
    )


class Idempotency(Table):
    """A store that remembers which records were worked, so that none is worked twice; none without a `store`."""

    store: OptionalPlugin = _key(
        "",
        description='The plugin that remembers: `"idempotency_sqlite"` on one host, `"idempotency_redis"` or '
        '`"idempotency_postgresql"` for many; empty: none.',
    )
    key: RecordKey = _key(
        "offset",
        description='What is worked once: `"offset"`, `"header:NAME"`, or what a function of a record returns '
        "(`module:function`).",
    )
    ttl: Timeout = _key("7d", description="How long a worked key is remembered.")
    lease: Timeout = _key(
        "30s", description="How long the key of a worker that died stays claimed; renewed while a handler works."
    )


class Commit(Table):
    """When offsets of settled records are committed; never past a record that is not settled."""

    mode: Literal["manual", "automatic"] = _key(
        "manual", description="By count and age, or by librdkafka's timer (offsets are stored after settling)."
    )
    count: int = _key(1000, ge=1, le=1_000_000, description="Settled records after which a commit is sent (`manual`).")
    interval: Timeout = _key("1s", description="The longest time between a settled record and its commit.")
    transaction_interval: Timeout = _key(
        "100ms", description='The longest time until outputs are seen, with `delivery = "exactly-once"`.'
    )
    metadata: bool = _key(
        default=False,
        description="Write what is settled above the committed offset into the commit, so that a crash repeats little.",
    )


class Batch(Table):
    """How records are gathered for a `process_batch` hook; no effect on `process`."""

    size: int = _key(500, ge=1, le=100_000, description="The most records of one call.")
    age: Duration = _key("100ms", description="How long a call may wait for more records.")


class Restart(Table):
    """When a dead worker is started again: at once the first time, then with growing waits."""

    initial: Duration = _key("1s", description="The wait before the second restart in a row; the first has none.")
    factor: Factor = _key(2.0, description="What each further wait is multiplied by.")
    max: Duration = _key("60s", description="The longest wait between two starts.")
    jitter: Share = _key(0.5, description="The share of a wait that chance may take away: 0 none, 1 all.")
    never_ready_limit: int = _key(
        5, ge=1, le=1000, description="Exits in a row before any worker was ready, after which the group is FATAL."
    )
    half_open_after: int = _key(
        5,
        ge=0,
        le=10_000,
        description="Failures within a minute, by most slots, above which one slot is tried before all; 0: never.",
    )


class Limits(Table):
    """What one worker may use. Over a soft limit it is replaced in order, over a hard one it is ended."""

    rss_soft: OptionalSize = _key(
        "off", description="Resident memory over which a worker is replaced, one of a group at a time."
    )
    rss_hard: OptionalSize = _key("off", description="Resident memory over which a worker is ended at once.")
    max_records: OptionalCount = _key("off", description="Settled records after which a worker is replaced.")
    max_age: OptionalDuration = _key("off", description="Age at which a worker is replaced.")
    variance: Share = _key(
        0.1, description="The share of a limit that chance may take away, so that workers are not replaced together."
    )
    nice: int = _key(0, ge=-20, le=19, description="Added to the supervisor's own niceness; below 0 needs a privilege.")
    cpu_affinity: Cpus = _key(
        (), description='Processors the workers may use: `[0, 1]`; `"spread"`: each slot one, in turn; empty: all.'
    )
    memory_max: OptionalSize = _key("off", description="`memory.max` of each worker's cgroup, where one may be made.")
    cpu_quota: OptionalCores = _key(
        "off", description="Processors' worth of time each worker's cgroup may use: `0.5`, `2`; where one may be made."
    )
    rlimits: Rlimits = _key(
        default_factory=dict,
        description='Limits of setrlimit(2) by name: `{ nofile = 4096, core = "unlimited" }`.',
    )


class Logs(Table):
    """Where workers log and print: into a file per slot, or, as without this table, to the supervisor's stderr."""

    dir: str = _key(
        "",
        description="Folder for one file per slot (`orders-0.log`) with all that its worker logs and prints; "
        "empty: the supervisor's stderr. Relative to the config file.",
    )
    max_size: Size = _key("10MiB", description="The size at which a file is rotated; looked at each second.")
    keep: int = _key(5, ge=0, le=1000, description="How many rotated files are kept (`orders-0.log.1` is the newest).")


class Defaults(Table):
    """What every group has that does not say otherwise."""

    enabled: bool = _key(default=True, description="Whether the group is run.")
    plugins: Plugins = _key((), description="Plugins active in the group's workers, besides sink and fallback.")
    workers: Workers = _key(
        1,
        description="Worker processes on this host; more than partitions stay idle. "
        "`{ min, max, target_lag }`: as many as the group's lag asks for.",
    )
    ordering: Literal["partition", "key", "none"] = _key(
        "partition", description="Which records wait for each other: those of a partition, of a key, or none."
    )
    concurrency: int = _key(
        1,
        ge=1,
        le=4096,
        description="Records in their handlers at once per worker: threads, or tasks of one loop for `async def`.",
    )
    delivery: Literal["at-least-once", "exactly-once"] = _key(
        "at-least-once",
        description="Whether a crash may repeat what handlers return to be produced, or transactions prevent it.",
    )
    decode: Plugin = _key(
        "bytes",
        description='What `record.data` is: `"bytes"`, the value as it is; `"text"`, `"json"`, `"msgspec"`, '
        '`"pydantic"`, `"avro"`, `"protobuf"`, `"json-schema"`; or a plugin with the hook `decode`.',
    )
    handler_timeout: Timeout = _key("5m", description="How long a handler may take for one record.")
    extend_limit: Timeout = _key("1h", description="How long a record may have that asks for more time.")
    protocol: Literal["classic", "consumer"] = _key(
        "classic", description="Kafka's group protocol: static members that restart unnoticed, or KIP-848."
    )
    start_timeout: Timeout = _key("60s", description="How long a worker may take until it is ready.")
    failover_after: Duration = _key(
        "5s", description="A slot whose restart is further away than this leaves the group (`classic`)."
    )
    revoke_timeout: Duration = _key("10s", description="How long records in flight may finish when a partition goes.")
    out_of_range: Literal["stop", "earliest", "latest"] = _key(
        "stop", description="Where to go on when the committed offset is not in the partition: nowhere, or jump."
    )
    max_gap: int = _key(
        10_000, ge=1, le=10_000_000, description="Records per partition delivered but not committable, then it pauses."
    )
    queue_records: int = _key(10_000, ge=1, le=1_000_000, description="The most records a worker holds unsettled.")
    queue_bytes: Size = _key("16MiB", description="The most bytes of records a worker holds unsettled.")
    max_deaths: int = _key(
        3,
        ge=1,
        le=1000,
        description="Deaths of a worker that one record may cause, until it is a dead letter without another run.",
    )
    retry: Retry = _key(default_factory=Retry, description="What becomes of a failed record.")
    dead_letters: DeadLetters = _key(default_factory=DeadLetters, description="Where records go that failed for good.")
    breaker: Breaker = _key(default_factory=Breaker, description="What happens while a dependency is down.")
    flood: Flood = _key(default_factory=Flood, description="What happens when very many records become dead letters.")
    idempotency: Idempotency = _key(
        default_factory=Idempotency, description="A store that remembers which records were worked."
    )
    commit: Commit = _key(default_factory=Commit, description="When offsets are committed.")
    batch: Batch = _key(default_factory=Batch, description="How batches are gathered.")
    restart: Restart = _key(default_factory=Restart, description="When a dead worker is started again.")
    limits: Limits = _key(default_factory=Limits, description="What one worker may use.")
    logs: Logs = _key(default_factory=Logs, description="Where workers log and print.")
    kafka: KafkaTable = _key(
        default_factory=dict,
        repr=False,
        description="librdkafka's own keys for these clients, over those of `[kafka]`.",
    )
    code_version: str = _key(
        "", description='What is written into dead letters as the version of the code: `"${GIT_SHA}"`; empty: nothing.'
    )
    preload: Modules = _key(
        (),
        description='Modules imported once, before workers are forked (`start_method = "fork"`), and shared by them.',
    )


class Group(Defaults):
    """One Kafka consumer group and the workers that serve it on this host."""

    topics: Topics = _key(description="The topics to read: a list of names, or a pattern that begins with `^`.")
    handler: Handler = _key("", description="The function or class that works a record, as `module:attribute`.")


class File(Table):
    """The whole of ``supervisor.toml``; only the JSON schema is made from it, loading goes table by table."""

    supervisor: Supervisor = _key(default_factory=Supervisor, description="The supervisor itself.")
    alerting: Alerting = _key(default_factory=Alerting, description="How soon and how often people are told.")
    http: Http = _key(default_factory=Http, description="The HTTP listener for metrics and probes.")
    kafka: KafkaTable = _key(
        default_factory=dict,
        repr=False,
        description='librdkafka\'s own keys for every client; each group needs `"bootstrap.servers"`, here or its own.',
    )
    defaults: Defaults = _key(default_factory=Defaults, description="Keys for every group that does not say otherwise.")
    groups: dict[str, Group] = _key(description="Consumer groups by their Kafka name.")
    plugins: dict[str, dict[str, object]] = _key(
        default_factory=dict, repr=False, description="Options of plugins by name, checked by each plugin's own model."
    )
