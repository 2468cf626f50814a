"""librdkafka set up before a fork: nothing a fork would break, and members that are told apart."""

import subprocess
import sys

_PROGRAM = """
import os
from confluent_kafka import Consumer
from supervisor.kafka import beforehand

def threads_and_files():
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))

before = threads_and_files()
beforehand.set_up()
print(threads_and_files() == before, flush=True)
for _ in range(3):
    if os.fork() == 0:
        settings = {"group.id": "g", "group.protocol": "consumer", "bootstrap.servers": "127.0.0.1:1", "log_level": 0}
        print(Consumer(settings).memberid(), flush=True)
        os._exit(0)
    os.wait()
"""


def _told() -> list[str]:
    ended = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stderr == ""
    return ended.stdout.split()


def test_setting_up_before_a_fork_leaves_no_thread_no_descriptor_and_no_log_line() -> None:
    assert _told()[0] == "True"


def test_clients_of_processes_forked_afterwards_have_member_ids_of_their_own() -> None:
    members = _told()[1:]

    assert len(set(members)) == 3
