import pytest
from click.testing import CliRunner, Result

from supervisor.cli.main import cli
from supervisor.core.conditions import Kind


def runbook(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["runbook", *arguments])


@pytest.mark.parametrize("kind", Kind)
def test_there_is_something_to_do_about_each_condition(kind: Kind) -> None:
    result = runbook(kind.value)

    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 3


def test_a_section_is_the_same_by_each_of_its_names_and_ends_where_the_next_begins() -> None:
    by_alert, by_condition = runbook("KafkaSupervisorBreakerOpen"), runbook("dependency_down")

    assert by_alert.output == by_condition.output
    assert by_alert.output.startswith("KafkaSupervisorBreakerOpen\n\n")
    assert "##" not in by_alert.output
    assert "<a id" not in by_alert.output


def test_without_a_name_all_names_are_listed() -> None:
    names = runbook().output.split()

    assert {"KafkaSupervisorAbsent", "no_progress", "broker_unreachable"} <= set(names)
    assert len(names) == len(set(names))


def test_a_name_that_is_not_there_says_which_was_perhaps_meant() -> None:
    result = runbook("no_progres")

    assert result.exit_code == 2
    assert "did you mean 'no_progress'?" in result.output
