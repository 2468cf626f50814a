"""Real workers from a real zygote. No broker: an unreachable one is no failed start."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from supervisor.core.snapshot import SlotSnapshot, SlotState
from tests.process.test_parent_kafka import Run, running

NOWHERE = "127.0.0.1:1"
INHERITED = 20_000
"""Objects that a zygote has at least; a third of what they are."""


def all_running(slots: list[SlotSnapshot]) -> bool:
    return all(slot.state is SlotState.RUNNING for slot in slots)


def pids(slots: list[SlotSnapshot]) -> list[int]:
    return [slot.pid for slot in slots if slot.pid]


def restarted(run: Run, slot: int) -> int:
    """Kill the slot's worker; return the next one's pid."""
    before = run.slots_when(all_running)[slot]
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    after = run.slots_when(lambda slots: all_running(slots) and slots[slot].incarnation > before.incarnation)
    return pids(after)[slot]


def end(run: Run) -> None:
    """End without leaving: there is nobody to leave."""
    run.client.stop(end="keep")
    run.process.wait(30)


def test_a_handler_changed_on_disk_is_what_the_next_worker_runs(tmp_path: Path) -> None:
    handler = "from pathlib import Path\nPath(__file__).with_name('seen').write_text('{}')\ndef process(record): pass\n"
    (tmp_path / "handlers.py").write_text(handler.format("first"))
    with running(tmp_path, NOWHERE, "g") as run:
        run.slots_when(all_running)
        assert (tmp_path / "seen").read_text() == "first"

        (tmp_path / "handlers.py").write_text(handler.format("second, longer"))
        pid = restarted(run, 0)

        assert psutil.Process(pid).cmdline()[0].startswith("supervisor: worker g/0")
        assert (tmp_path / "seen").read_text() == "second, longer"
        end(run)


def test_a_forked_worker_is_as_an_execd_one(tmp_path: Path) -> None:
    """Same search path, working directory, signal dispositions and threads; chance of its own."""
    (tmp_path / "loud.py").write_text(
        "import logging, os, random, signal\n"
        "random.seed(7)\n"
        "signal.signal(signal.SIGQUIT, print)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])\n"
        "os.chdir('/')\n"
        "logging.basicConfig(level=logging.DEBUG)\n"
    )
    (tmp_path / "handlers.py").write_text(
        "import os, random, signal, sys\n"
        "from pathlib import Path\n"
        "here = Path(__file__).parent\n"
        "handlers = [signal.getsignal(number) for number in sorted(signal.valid_signals())]\n"
        "names = [getattr(one, '__name__', str(one)) for one in handlers]\n"
        "mask = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"
        "(here / f'seen-{os.getpid()}').write_text(repr((sys.path, os.getcwd(), names, mask)))\n"
        "(here / f'chance-{os.getpid()}').write_text(repr(random.random()))\n"
        "def process(record): pass\n"
    )
    seen = []
    for method, preload in (("exec", ""), ("fork", 'preload = ["loud"]')):
        config = f'start_method = "{method}"\nruntime_dir'
        with running(tmp_path, NOWHERE, "g", more=preload, replace=("runtime_dir", config)) as run:
            found = pids(run.slots_when(all_running))
            texts = [(tmp_path / f"seen-{pid}").read_text() for pid in found]
            assert len(set(texts)) == 1
            seen.append(texts[0])
            assert len({(tmp_path / f"chance-{pid}").read_text() for pid in found}) == 2
            assert [psutil.Process(pid).cmdline()[0] for pid in found if method == "fork"] == [
                f"supervisor: worker g/{slot}" for slot in range(2) if method == "fork"
            ]
            end(run)

    assert seen[0] == seen[1]


def test_no_collection_of_a_forked_worker_walks_what_it_shares(tmp_path: Path) -> None:
    """Each object that is looked at would be a page copied, of all that is shared."""
    (tmp_path / "watching.py").write_text(
        "import gc, os\n"
        "from pathlib import Path\n"
        "notes = Path(__file__).with_name('collections')\n"
        "def note(phase, info):\n"
        "    if phase == 'start':\n"
        "        walked = sum(len(gc.get_objects(one)) for one in range(info['generation'] + 1))\n"
        "        with notes.open('a') as file: file.write(f'{os.getpid()} {walked}\\n')\n"
        "gc.callbacks.append(note)\n"
    )
    (tmp_path / "handlers.py").write_text("import gc\ngc.collect()\ndef process(record): pass\n")
    with running(tmp_path, NOWHERE, "g", more='preload = ["watching"]') as run:
        workers = set(pids(run.slots_when(all_running)))
        end(run)

    lines = [line.split() for line in (tmp_path / "collections").read_text().splitlines()]
    walked = [(int(pid) in workers, int(objects)) for pid, objects in lines]
    assert max(objects for is_worker, objects in walked if not is_worker) > INHERITED, "the zygote's own"
    assert {is_worker for is_worker, _ in walked} == {True, False}
    assert max(objects for is_worker, objects in walked if is_worker) < INHERITED / 4


def test_preloaded_modules_that_are_not_there_are_named_before_anything_starts(tmp_path: Path) -> None:
    """P9."""
    (tmp_path / "handlers.py").write_text("def process(record): pass\n")
    (tmp_path / "supervisor.toml").write_text(
        '[supervisor]\nruntime_dir = "run"\n[kafka]\n"bootstrap.servers" = "127.0.0.1:1"\n'
        '[groups.g]\ntopics = ["g"]\nhandler = "handlers:process"\npreload = ["handlrs"]\n'
    )

    for command in ("run", "check"):
        ended = subprocess.run(
            (sys.executable, "-m", "supervisor", "-c", str(tmp_path / "supervisor.toml"), command),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert ended.returncode == (78 if command == "run" else ended.returncode)
        assert ended.returncode != 0
        told = ended.stdout + ended.stderr
        assert "there is no module 'handlrs'" in told
        assert "handlers" in told, "a guess"
