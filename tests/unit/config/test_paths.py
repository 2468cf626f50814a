import os
from pathlib import Path

from supervisor.config import load, paths
from tests.unit.config.texts import MINIMAL, Loader


def test_state_is_kept_beside_the_config_unless_told_otherwise(load_text: Loader, tmp_path: Path) -> None:
    assert paths(load_text(MINIMAL)).state_dir == tmp_path / "state"
    assert paths(load_text(MINIMAL, {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"})).state_dir == Path("/var/lib/a")
    given = '[supervisor]\nstate_dir = "../data"\n' + MINIMAL
    assert paths(load_text(given, {"STATE_DIRECTORY": "/var/lib/a"})).state_dir == tmp_path.parent / "data"


def test_runtime_files_are_in_one_folder(load_text: Loader) -> None:
    places = paths(load_text(MINIMAL, {"RUNTIME_DIRECTORY": "/run/a:/run/b"}))

    assert places.runtime_dir == Path("/run/a")
    assert places.socket == Path("/run/a/control.sock")
    assert places.lock == Path("/run/a/supervisor.lock")
    assert places.slot_file("orders", 2) == Path("/run/a/orders.2.slot")


def test_groups_and_slots_never_share_a_slot_file(load_text: Loader) -> None:
    places = paths(load_text(MINIMAL))

    pairs = [("a", 1), ("a.1", 1), ("a", 11), ("a.1.1", 1), ("a-1", 1)]
    assert len({places.slot_file(group, slot) for group, slot in pairs}) == len(pairs)


def test_each_config_file_has_a_runtime_folder_of_its_own(tmp_path: Path) -> None:
    folders = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "supervisor.toml").write_text(MINIMAL)
        folders.add(paths(load(tmp_path / name / "supervisor.toml", environ={}, hostname="web-1")).runtime_dir)

    assert len(folders) == 2
    assert all(folder.parent.name == f"kafka-supervisor-{os.getuid()}" for folder in folders)
    assert all(folder.name.startswith("web-1-") for folder in folders)


def test_a_link_to_the_config_means_the_same_supervisor(load_text: Loader, tmp_path: Path) -> None:
    original = paths(load_text(MINIMAL))
    (tmp_path / "link.toml").symlink_to(tmp_path / "supervisor.toml")

    assert paths(load(tmp_path / "link.toml", environ={}, hostname="web-1")) == original


def test_a_long_hostname_still_leaves_room_for_the_socket(tmp_path: Path) -> None:
    (tmp_path / "supervisor.toml").write_text(MINIMAL)

    config = load(tmp_path / "supervisor.toml", environ={}, hostname="h" * 64)

    assert len(os.fsencode(paths(config).socket)) <= 107
