"""Run a parent over fake workers: ``python -m tests.process.parent_program FOLDER GROUPS POLICY``.

``GROUPS`` is JSON, group to number of slots; ``POLICY`` JSON, fields of ``core.slot.Policy``.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from supervisor.core.backoff import Backoff
from supervisor.core.child_specs import NotifierSpec
from supervisor.core.jsonable import from_json
from supervisor.core.limits import Allowance
from supervisor.core.progress import Limits
from supervisor.core.slot import Policy
from supervisor.core.spec import (
    BatchSpec,
    CommitSpec,
    DeadLetterSpec,
    Delivery,
    FloodSpec,
    GroupSpec,
    Mode,
    Ordering,
    PluginsSpec,
    RetrySpec,
    WorkerSpec,
)
from supervisor.parent.app import run_plan
from supervisor.parent.plan import GroupPlan, Plan
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.launcher import ExecLauncher
from supervisor.parent.running.logs import set_up
from supervisor.parent.store.journal import Retention
from tests.waiting import wait_until

HERE = Path(__file__).parent
LAUNCHER = ExecLauncher((sys.executable, "-P", str(HERE / "fake_worker.py")))


def worker_spec(
    folder: Path,
    group: str,
    changed: Mapping[str, Any],
    slot: int,
    incarnation: int,
    mode: Mode,
    *,
    preload: tuple[str, ...] = (),
) -> WorkerSpec:
    spec = WorkerSpec(
        supervisor="web-1",
        group=GroupSpec(
            name=group,
            topics=("orders",),
            handler=str(folder),
            plugins=PluginsSpec(search_path=(str(folder),)),
            ordering=Ordering.PARTITION,
            concurrency=1,
            delivery=Delivery.AT_LEAST_ONCE,
            protocol="classic",
            handler_timeout=30.0,
            max_gap=1000,
            queue_records=1000,
            queue_bytes=1 << 20,
            revoke_timeout=1.0,
            retry=RetrySpec(5, Backoff(0.1, 2.0, 1.0, jitter=1.0)),
            dead_letters=DeadLetterSpec("dlq_kafka", "", topic="{topic}.dlq", timeout=1.0),
            commit=CommitSpec("manual", 100, interval=1.0),
            batch=BatchSpec(1, 0.1),
            kafka={},
            preload=preload,
        ),
        slot=slot,
        incarnation=incarnation,
        mode=mode,
        parent_pid=os.getpid(),
        state_dir=str(folder / "state"),
        orphan_grace=1.0,
        log_format="text",
        log_level="info",
    )
    return replace(spec, group=replace(spec.group, **changed))


def make_plan(
    folder: Path,
    groups: dict[str, int],
    policy: dict[str, Any],
    *,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    supervisor: str = "web-1",
    **more: Any,
) -> Plan:
    """Return a plan over fake workers; ``changes`` are other members of groups' ``GroupSpec``."""
    policy = dict(policy)
    preload = tuple(policy.pop("preload", ()))
    limits = Limits(
        policy.pop("handler_timeout", 30.0),
        tick_timeout=policy.pop("tick_timeout", 30.0),
        stall_timeout=policy.pop("stall_timeout", 30.0),
    )
    run = folder / "run"
    grace = policy.pop("orphan_grace", 1.0)
    allowance = Allowance(**policy.pop("allowance", {}))
    flood = from_json(FloodSpec, policy.pop("flood", {}))
    if "backoff" in policy:
        policy["backoff"] = Backoff(*policy["backoff"])
    plans = tuple(
        GroupPlan(
            name=name,
            topics=("orders",),
            workers=workers,
            policy=Policy(supervisor="web-1", **policy),
            limits=limits,
            cells=2,
            spec=partial(worker_spec, folder, name, (changes or {}).get(name, {}), preload=preload),
            allowance=allowance,
            flood=flood,
        )
        for name, workers in groups.items()
    )
    return Plan(
        supervisor=supervisor,
        groups=plans,
        runtime_dir=run,
        state_dir=folder / "state",
        socket=run / "control.sock",
        lock=run / "supervisor.lock",
        slot_file=lambda group, slot: run / f"{group}.{slot}.slot",
        orphan_grace=grace,
        **more,
    )


async def no_problems(request: dict[str, Any], exits: ExitWatch) -> tuple[str, ...]:
    await asyncio.sleep(0)
    if "gate" in request:
        await asyncio.to_thread(wait_until, Path(request["gate"]).exists, 60)
    return tuple(request.get("problems", ()))


def step_clock(folder: Path) -> None:
    """Have this process see a wall clock that is as many seconds off as ``folder/clock`` says."""
    true_time, file = time.time, folder / "clock"
    time.time = lambda: true_time() + (float(file.read_text()) if file.exists() else 0.0)


def main() -> int:
    set_up("text", "info")
    step_clock(Path(sys.argv[1]))
    folder, groups, policy = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
    more: dict[str, Any] = {}
    if "notifier" in policy:
        program = (sys.executable, "-P", str(HERE / "fake_notifier.py"), "--log", str(folder / "alerts"))
        more["notifier_program"] = (*program, *policy.pop("notifier"))
        more["notifier"] = NotifierSpec("web-1", PluginsSpec(), os.getpid(), log_format="text", log_level="info")
    if "http" in policy:
        more["http"] = ("127.0.0.1", policy.pop("http"))
    if "start_method" in policy:
        more["start_method"] = policy.pop("start_method")
        more["zygote_program"] = (sys.executable, "-P", str(HERE / "fake_zygote.py"), "--folder", str(folder))
    if "problems" in policy:
        more["plugins"] = {"problems": policy.pop("problems")}
    if "gate" in policy:
        more["plugins"] = {"gate": policy.pop("gate")}

    def replan() -> Plan:
        """Read what the test wrote to ``next``: ``groups``, ``changes``, ``policy``, ``problems``, ``retention``."""
        wanted = json.loads((folder / "next").read_text())
        new = {**more, "plugins": {"problems": wanted.pop("problems", ())}}
        if "http" in wanted:
            new["http"] = ("127.0.0.1", wanted.pop("http")) if wanted["http"] else wanted.pop("http")
        if "retention" in wanted:
            wanted["retention"] = Retention(**wanted["retention"])
        return make_plan(folder, wanted.pop("groups", groups), {**policy, **wanted.pop("policy", {})}, **wanted, **new)

    if policy.pop("spooled", False):
        letters = DeadLetterSpec("dlq_sqlite", "dlq_file", topic="{topic}.dlq", timeout=1.0)
        more["changes"] = {group: {"dead_letters": letters} for group in groups}
    plan = make_plan(folder, groups, policy, **more)
    return run_plan(plan, launcher=LAUNCHER, validate=no_problems, replan=replan)


if __name__ == "__main__":
    sys.exit(main())
