import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from supervisor.cli.main import cli
from tests.broker.real import RealBroker
from tests.broker.records import create_topic

CONFIG = """
[kafka]
"bootstrap.servers" = "{bootstrap}"
[groups."{group}"]
topics = ["{group}"]
handler = "{handler}"
"""


def project(
    folder: Path, *, handler: str = "handlers:process", bootstrap: str = "127.0.0.1:1", group: str = "g"
) -> Path:
    (folder / "handlers.py").write_text("def process(record): ...\n")
    config = folder / "supervisor.toml"
    config.write_text(CONFIG.format(handler=handler, bootstrap=bootstrap, group=group))
    return config


def supervisor(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-c", str(config), *arguments])


def test_every_problem_of_the_configuration_is_a_finding_and_the_exit_code_is_78(tmp_path: Path) -> None:
    config = tmp_path / "supervisor.toml"
    config.write_text("[groups.orders]\ntopics = 'orders'\nordering = 'keys'\n")

    result = supervisor(config, "check", "--json")

    answer = json.loads(result.output)
    assert result.exit_code == 78
    assert answer["ok"] is False
    assert len(answer["findings"]) >= 2
    assert all(finding["help"] for finding in answer["findings"])


def test_a_handler_that_is_not_there_is_found_with_what_there_is(tmp_path: Path) -> None:
    result = supervisor(project(tmp_path, handler="handlers:proces"), "check", "--offline")

    assert result.exit_code == 78
    assert "proces" in result.output
    assert "help: did you mean 'process'?" in result.output


WRONG = """\
[supervisor]
alerts = ["alert_log", "alert_lgo"]
state_dir = "state"
runtime_dir = "run"
[kafka]
"bootstrap.servers" = "127.0.0.1:1"
[defaults]
retry.permanent = ["builtins:KeyError", "handlers:Invalid"]
[groups.orders]
topics = ["orders"]
handler = "handlers:proces"
plugins = [
    "dlq_file",
    "dlq_sqlit",
]
dead_letters.sink = "dlq_fil"
kafka."fetch.mn.bytes" = 1
[groups.bills]
topics = ["bills"]
handler = "handlers:process"
plugins = ["dlq_file"]
decode = "jsn"
preload = ["handlrs"]
[[groups.bills.retry.rules]]
error = "handlers:Missing"
attempts = 2
[plugins.dlq_file]
max_size = "10M"
directory = 3
"""


def test_p9_what_is_wrong_with_plugins_says_on_which_line_and_at_which_key_it_stands(tmp_path: Path) -> None:
    (tmp_path / "handlers.py").write_text("def process(record): ...\n")
    config = tmp_path / "supervisor.toml"
    config.write_text(WRONG)
    command = [sys.executable, "-m", "supervisor", "-c", str(config), "run"]

    checked = supervisor(config, "check", "--offline").output
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stderr

    for line, key, found in (
        (2, "supervisor.alerts[1]", "alert_lgo: is not"),
        (8, "defaults.retry.permanent[1]", "retry.permanent 'handlers:Invalid': "),
        (11, "groups.orders.handler", "handler 'handlers:proces': "),
        (14, "groups.orders.plugins[1]", "dlq_sqlit: is not"),
        (16, "groups.orders.dead_letters.sink", "dlq_fil: is not"),
        (17, 'groups.orders.kafka."fetch.mn.bytes"', "kafka: librdkafka refuses"),
        (22, "groups.bills.decode", "jsn: is not"),
        (23, "groups.bills.preload[0]", "preload 'handlrs': "),
        (25, "groups.bills.retry.rules[0].error", "retry.rules 'handlers:Missing': "),
        (29, "plugins.dlq_file.directory", "dlq_file: option 'directory': "),
    ):
        for said in (checked, run):
            assert f"{config}:{line} {key}: {found}" in said
    assert "supervisor: 11 problems" in run, "what groups share is told once"
    assert run.count(" (groups.orders, groups.bills)\n") == 3, "with whom it concerns, where the place does not say it"
    assert "(groups.orders)" not in run, "a group's own place says whose it is"


SHARED = """\
[supervisor]
state_dir = "state"
runtime_dir = "run"
[kafka]
"bootstrap.servers" = "127.0.0.1:1"
"fetch.mn.bytes" = 1
[defaults]
decode = "msgspec"
[groups.orders]
topics = ["orders"]
handler = "handlers:wrong"
[groups.bills]
topics = ["bills"]
handler = "handlers:right"
[groups."more.bills"]
topics = ["more"]
handler = "handlers:wrong"
"""


def test_p9_what_is_wrong_where_several_groups_share_it_is_told_once_with_those_it_concerns(tmp_path: Path) -> None:
    (tmp_path / "handlers.py").write_text(
        "from supervisor.plugin import Record\n"
        "def wrong(record: Record[list[int] | set[int]]): ...\n"
        "def right(record: Record[list[int]]): ...\n"
    )
    config = tmp_path / "supervisor.toml"
    config.write_text(SHARED)
    command = [sys.executable, "-m", "supervisor", "-c", str(config), "run"]

    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stderr

    problems = [line for line in said.splitlines() if line.startswith(f"  {config}:")]
    decode, kafka = problems
    assert decode.startswith(f"  {config}:8 defaults.decode: decode_msgspec: ")
    assert decode.endswith(' (groups.orders, groups."more.bills")')
    assert kafka.startswith(f'  {config}:6 kafka."fetch.mn.bytes": kafka: librdkafka refuses ')
    assert kafka.endswith(' (groups.orders, groups.bills, groups."more.bills")')


@pytest.mark.parametrize(
    ("code", "step"),
    [
        ("import os\nos._exit(4)\n", "importing 'policy'"),
        ("import os\nclass Policy:\n    def __init__(self): os._exit(4)\n", "calling policy:Policy: Policy()"),
    ],
)
def test_a_plugin_that_ends_the_process_is_named(tmp_path: Path, code: str, step: str) -> None:
    config = project(tmp_path)
    (tmp_path / "policy.py").write_text(code)
    config.write_text(config.read_text() + 'plugins = ["policy:Policy"]\n')

    result = supervisor(config, "check", "--offline")

    assert f"ended with exit code 4 and no answer; its last step: {step}" in result.output
    assert result.exit_code != 0


@pytest.mark.parametrize("target", ["mine", "mine:Policy"])
def test_a_plugin_that_fails_when_imported_is_imported_alone_by_what_the_help_says(tmp_path: Path, target: str) -> None:
    folder, elsewhere = tmp_path / "it's here", tmp_path / "elsewhere"
    (folder / "plugins").mkdir(parents=True)
    elsewhere.mkdir()
    config = project(folder)
    (folder / "plugins" / "mine.py").write_text("import handlers\nraise ValueError(handlers.__name__)\n")
    config.write_text(config.read_text() + f'plugins = ["{target}"]\n')

    said = supervisor(config, "check", "--offline").output

    assert f"ValueError: handlers ({folder}/plugins/mine.py:2)" in said
    command = said.partition("; try: ")[2].partition("\n")[0].replace("python -c", f"{sys.executable} -c")
    tried = subprocess.run(command, shell=True, cwd=elsewhere, capture_output=True, text=True, timeout=60, check=False)  # noqa: S602 - what a person would type
    assert "ValueError: handlers" in tried.stderr


def test_a_permanent_exception_that_is_not_there_is_found(tmp_path: Path) -> None:
    config = project(tmp_path)
    config.write_text(config.read_text() + 'retry.permanent = ["handlers:Invalid"]\n')

    result = supervisor(config, "check", "--offline")

    assert result.exit_code == 78
    assert "Invalid" in result.output


def test_a_key_that_librdkafka_does_not_know_is_refused_by_check_and_by_run(tmp_path: Path) -> None:
    config = project(tmp_path)
    config.write_text(config.read_text().replace("[kafka]", '[kafka]\n"fetch.mn.bytes" = 1'))
    command = [sys.executable, "-m", "supervisor", "-c", str(config), "run"]

    checked = supervisor(config, "check", "--offline")
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (checked.exit_code, run.returncode) == (78, 78)
    for said in (checked.output, run.stderr):
        assert 'librdkafka refuses the settings: No such configuration property: "fetch.mn.bytes"' in said
        assert "help: correct it in [kafka] or [groups.NAME.kafka]" in said


def test_a_sound_project_is_ok_without_a_broker_when_offline(tmp_path: Path) -> None:
    result = supervisor(project(tmp_path), "check", "--offline", "--json")

    assert result.exit_code == 0
    assert {finding["level"] for finding in json.loads(result.output)["findings"]} == {"ok"}


def test_a_missing_topic_is_exit_code_1(tmp_path: Path, broker: RealBroker, name: str) -> None:
    result = supervisor(project(tmp_path, bootstrap=broker.bootstrap, group=name), "check")

    assert result.exit_code == 1
    assert f"topic '{name}' does not exist" in result.output


def test_topics_that_are_there_are_exit_code_0(tmp_path: Path, broker: RealBroker, name: str) -> None:
    for topic in (name, f"{name}.dlq"):
        create_topic(broker.bootstrap, topic)

    result = supervisor(project(tmp_path, bootstrap=broker.bootstrap, group=name), "check", "--json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["ok"] is True


def test_config_show_masks_secrets_and_fills_in_defaults(tmp_path: Path) -> None:
    config = project(tmp_path)
    config.write_text(config.read_text().replace("[kafka]", '[kafka]\n"sasl.password" = "hunter2"'))

    shown = supervisor(config, "config", "show")
    as_json = supervisor(config, "config", "show", "--json")

    assert "hunter2" not in shown.output + as_json.output
    assert 'handler_timeout = "5m"' in shown.output
    assert json.loads(as_json.output)["groups"]["g"]["workers"] == 1


def test_config_schema_is_json(tmp_path: Path) -> None:
    assert json.loads(supervisor(project(tmp_path), "config", "schema").output)["title"] == "supervisor.toml"


def test_plugins_lists_hooks_and_where_they_are_active(tmp_path: Path) -> None:
    result = supervisor(project(tmp_path), "plugins")

    lines = {line.split()[0]: line for line in result.output.splitlines() if line}
    assert result.exit_code == 0
    assert "send_dead_letter" in lines["dlq_kafka"]
    assert " g " in lines["dlq_kafka"]
    assert " - " in lines["retry_exponential"]


def test_plugins_needs_no_configuration(tmp_path: Path) -> None:
    result = supervisor(tmp_path / "supervisor.toml", "plugins", "--json")

    assert result.exit_code == 0
    assert "dlq_file" in json.loads(result.output)["installed"]
