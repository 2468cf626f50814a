import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from supervisor.core.exits import ExitCode


def inspect(subject: str, request: object) -> dict[str, Any]:
    """Return what the real child process answers in the last line of its stdout."""
    answer: dict[str, Any] = json.loads(run(subject, json.dumps(request)).stdout.splitlines()[-1])
    return answer


def run(subject: str, stdin: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "supervisor.inspector", subject]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def group(folder: Path, handler: str, *targets: str, **more: object) -> dict[str, object]:
    plugins = [{"target": target, "options": {}} for target in targets]
    return {"plugins": {"plugins": plugins, "search_path": [str(folder)]}, "handler": handler, **more}


def test_what_loads_is_listed_by_hook(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("def process(record): ...")

    answer = inspect(
        "plugins",
        {
            "groups": {"orders": group(tmp_path, "shop:process", "dlq_kafka", sinks=["dlq_kafka", ""])},
            "notifier": {"plugins": [{"target": "alert_log"}]},
        },
    )

    assert answer == {
        "problems": [],
        "active": {
            "orders": {
                "process": ["handler 'shop:process'"],
                "send_dead_letter": ["dlq_kafka"],
            },
            "supervisor.alerts": {"alert": ["alert_log"]},
        },
    }


def test_every_problem_of_every_group_is_named(tmp_path: Path) -> None:
    answer = inspect(
        "plugins",
        {
            "groups": {
                "orders": group(tmp_path, "nowhere:process", permanent=["json:loads"], rules=["json:Busy"]),
                "mails": group(tmp_path, "", "dlq_flie"),
            },
            "notifier": {"plugins": [{"target": "dlq_file"}]},
        },
    )

    assert [(problem["group"], problem["plugin"]) for problem in answer["problems"]] == [
        ("orders", "handler 'nowhere:process'"),
        ("orders", "retry.permanent 'json:loads'"),
        ("orders", "retry.rules 'json:Busy'"),
        ("mails", "dlq_flie"),
        ("", "dlq_file"),
    ]
    assert all(problem["help"] for problem in answer["problems"] if problem["group"] != "orders")


def test_every_setting_that_librdkafka_refuses_is_a_problem_of_its_group(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("def process(record): ...")
    typos = {"bootstrap.servers": "127.0.0.1:1", "fetch.mn.bytes": 1, "sesion.timeout.ms": 1, "sasl.password": "s3cret"}
    wrong = {"bootstrap.servers": "127.0.0.1:1", "isolation.level": "read_all"}
    right = {"bootstrap.servers": "127.0.0.1:1", "fetch.min.bytes": 1, "session.timeout.ms": 45000}

    answer = inspect(
        "plugins",
        {
            "groups": {
                "typos": group(tmp_path, "shop:process", kafka=typos, protocol="classic"),
                "wrong": group(tmp_path, "shop:process", kafka=wrong, protocol="consumer"),
                "right": group(tmp_path, "shop:process", kafka=right, protocol="classic"),
            }
        },
    )

    found = [(problem["group"], problem["text"]) for problem in answer["problems"]]
    assert [name for name, _ in found] == ["typos", "typos", "wrong"]
    assert {text.rpartition(" ")[2] for name, text in found if name == "typos"} == {
        '"fetch.mn.bytes"',
        '"sesion.timeout.ms"',
    }
    assert 'Invalid value "read_all" for configuration property "isolation.level"' in found[2][1]
    assert "s3cret" not in str(answer)


def test_a_way_to_tokens_that_needs_a_package_which_is_not_there_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("def process(record): ...")
    kafka = {
        "security.protocol": "sasl_ssl",
        "sasl.mechanisms": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.metadata.authentication.type": "aws_iam",
        "sasl.oauthbearer.config": "region=eu-west-1,audience=kafka",
    }

    answer = inspect("plugins", {"groups": {"a": group(tmp_path, "shop:process", kafka=kafka, protocol="classic")}})

    (problem,) = answer["problems"]
    assert "pip install 'confluent-kafka[oauthbearer-aws]'" in problem["text"]


def test_what_user_code_prints_does_not_reach_the_answer(tmp_path: Path) -> None:
    source = 'import os\nprint("hello")\nos.write(1, b"raw\\n")\nos.system("echo shell")\nassert os.read(0, 1) == b""\n'
    (tmp_path / "noisy.py").write_text(f"{source}def process(record): ...")

    result = run("plugins", json.dumps({"groups": {"orders": group(tmp_path, "noisy:process")}}))

    *steps, answer = result.stdout.splitlines()
    assert all(step.startswith("step: ") for step in steps)
    assert json.loads(answer)["problems"] == []
    assert {"hello", "raw", "shell"} <= set(result.stderr.split())


def test_user_code_that_exits_is_a_problem_and_its_threads_do_not_keep_the_process(tmp_path: Path) -> None:
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,)).start()\n"
    (tmp_path / "leaves.py").write_text(f"{thread}raise SystemExit(3)")

    answer = inspect("plugins", {"groups": {"orders": group(tmp_path, "leaves:process")}})

    assert "importing 'leaves' failed: SystemExit: 3" in answer["problems"][0]["text"]


def test_open_is_not_called(tmp_path: Path) -> None:
    source = "class H:\n  def open(self): open('opened', 'w')\n  def process(self, record): ..."
    (tmp_path / "opens.py").write_text(source)

    answer = inspect("plugins", {"groups": {"orders": group(tmp_path, "opens:H")}})

    assert answer["problems"] == []
    assert not Path("opened").exists()


def test_installed_plugins_are_described_when_asked_for() -> None:
    answer = inspect("plugins", {"installed": True})

    sink = answer["installed"]["dlq_file"]
    assert sink["hooks"] == ["send_dead_letter", "worker_started", "worker_stopping"]
    assert sink["about"] == "Append each letter and return when the disk has it."
    assert sink["distribution"] == "kafka-supervisor"
    assert sink["problem"] == ""


def test_a_request_that_is_none_is_wrong_usage() -> None:
    for stdin in ("", "{", '{"groups": {"orders": {}}}', '{"groups": {"orders": {"plugins": 3}}}'):
        result = run("plugins", stdin)

        assert result.returncode == ExitCode.USAGE
        assert result.stderr.startswith("supervisor.inspector: the request is ")
        assert result.stdout == ""
