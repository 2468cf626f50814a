from click.testing import CliRunner

from supervisor.cli.main import cli


def test_a_command_that_is_not_there_says_which_was_perhaps_meant() -> None:
    close, far = (CliRunner().invoke(cli, [word]) for word in ("statsu", "xyzzy"))

    assert (close.exit_code, far.exit_code) == (2, 2)
    assert "No such command 'statsu'. Did you mean 'status'?" in close.output
    assert "No such command 'xyzzy'" in far.output
    assert "Did you mean" not in far.output


def test_an_option_that_is_not_there_is_still_an_option() -> None:
    result = CliRunner().invoke(cli, ["--confg", "x", "status"])

    assert result.exit_code == 2
    assert "No such option" in result.output
