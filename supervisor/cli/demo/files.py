"""The project that the demo runs: the repository's own ``supervisor.toml`` and handler, copied to a folder."""

from pathlib import Path

FILES = ("supervisor.toml", "examples/orders.py")


def write_project(folder: Path) -> Path:
    """Copy the project to ``folder`` and return its configuration's path.

    The wheel carries the files in ``demo/project``; in a checkout they are where people edit them.
    """
    here = Path(__file__).resolve().parent
    packed = here / "project"
    source = packed if packed.is_dir() else here.parents[2]
    for name in FILES:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((source / name).read_text())
    # A package of its own: some other distribution's "examples" must not win over it.
    (folder / "examples" / "__init__.py").touch()
    return folder / FILES[0]
