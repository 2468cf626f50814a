"""Every TOML block of README and docs works: it is checked as a user would, with the code the docs show beside it."""

import json
import re
import shutil
from pathlib import Path

import click
import pytest
import tomli
from click.testing import CliRunner, Result

from supervisor.cli.main import cli
from tests.broker import certificates
from tests.broker.certificates import Authority

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IDEMPOTENCY = ROOT / "docs" / "idempotency.md"
DECODING = ROOT / "docs" / "decoding.md"
PROTOC = """
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

file = descriptor_pb2.FileDescriptorProto(name="order.proto", package="shop", syntax="proto3")
file.message_type.add(name="Order").field.add(name="id", number=1, type=5, label=1)
pool = descriptor_pool.DescriptorPool()
pool.Add(file)
Order = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order"))
"""
"""What protoc makes of a message, near enough."""
PLUGINS = ROOT / "docs" / "plugins.md"
SHELL = {"README.md", "commands.md"}
"""The documents whose commands ``test_commands`` types."""
KAFKA = '[kafka]\n"bootstrap.servers" = "127.0.0.1:9092"\n'
ENTRY_POINTS = "[project.entry-points.supervisor]"


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def shown(word: str) -> str:
    """Return the one Python block of docs/plugins.md that has ``word``."""
    (block,) = [block for block in blocks(PLUGINS, "python") if word in block]
    return block


def toml_blocks() -> list[object]:
    return [
        pytest.param(block, id=f"{document.name}-{number}")
        for document in DOCUMENTS
        for number, block in enumerate(blocks(document, "toml"))
        if ENTRY_POINTS not in block
    ]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a project with the handlers and plugins that the docs talk of."""
    assert CliRunner().invoke(cli, ["init", str(tmp_path / "shop-project")]).exit_code == 0
    folder = tmp_path / "shop-project"
    (folder / "shop").mkdir()
    (folder / "shop" / "orders.py").write_text(shown("# shop/orders.py"))
    (folder / "shop" / "models.py").write_text("")
    (folder / "shop" / "payments.py").write_text(shown("# shop/orders.py"))
    (folder / "shop" / "policies.py").write_text(shown("class Patient"))
    (folder / "shop" / "deliver.py").write_text(shown("class Deliver"))
    for block in [*blocks(DECODING, "python"), *blocks(IDEMPOTENCY, "python")]:
        if named := re.match(r"# (shop/\w+\.py)\n", block):
            (folder / named[1]).write_text(block)
    (folder / "shop" / "order_pb2.py").write_text(PROTOC)
    for secret in ("kafka-password", "client-secret"):
        (folder / secret).write_text("x")
    return folder


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the certificates that docs/security.md talks of, called as there."""
    lack = certificates.missing()
    if lack is not None:
        pytest.skip(lack)
    folder = tmp_path_factory.mktemp("keys")
    Authority(folder, "ca").issue("orders", password="x")
    (folder / "key-password").write_text("x")
    return folder


def checked(folder: Path, text: str, **environ: str) -> Result:
    file = folder / "supervisor.toml"
    file.write_text(text if "bootstrap.servers" in text else KAFKA + text)
    file.chmod(0o600)
    return CliRunner().invoke(cli, ["-c", str(file), "check", "--offline", "--json"], env=environ)


@pytest.mark.parametrize("block", toml_blocks())
def test_every_toml_block_is_a_configuration_that_passes_the_check(
    project: Path, block: str, request: pytest.FixtureRequest
) -> None:
    if "ssl.ca.location" in block:
        shutil.copytree(request.getfixturevalue("keys"), project, dirs_exist_ok=True)

    result = checked(project, block, CREDENTIALS_DIRECTORY=str(project))

    assert result.exit_code == 0, result.output
    assert {finding["level"] for finding in json.loads(result.output)["findings"]} == {"ok"}, result.output


def test_the_entry_point_that_the_docs_show_makes_a_plugin_of_an_installed_distribution(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = [block for block in blocks(PLUGINS, "toml") if ENTRY_POINTS in block]
    ((name, target),) = tomli.loads(block)["project"]["entry-points"]["supervisor"].items()
    installed = project / "site" / "shop-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(f"[supervisor]\n{name} = {target}\n")
    monkeypatch.setenv("PYTHONPATH", str(installed.parent))

    result = checked(project, f'[groups.a]\ntopics = ["a"]\nhandler = "handlers:process"\nplugins = ["{name}"]\n')

    assert result.exit_code == 0, result.output
    assert f"retry_decision: {name}" in result.output


def test_no_document_has_commands_that_nobody_types() -> None:
    assert {document.name for document in DOCUMENTS if blocks(document, "shell")} == SHELL
    assert [document.name for document in DOCUMENTS if blocks(document, "(?:sh|bash|console)")] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_named_in_a_sentence_is_one(document: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)

    for line in re.findall(r"`supervisor ([^`]+)`", prose):
        parsed(cli, line.replace("|", " ").split())


def parsed(command: click.Command, words: list[str]) -> None:
    """Parse a command line without running it; raises ``click.UsageError`` for a word that is none."""
    if not words and isinstance(command, click.Group):
        return  # a group may be named as such
    context = command.make_context("supervisor", words)
    if isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        _, inner, arguments = command.resolve_command(context, rest)
        assert inner is not None
        parsed(inner, arguments)
