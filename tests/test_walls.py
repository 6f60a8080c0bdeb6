"""The walls of the house: imports only go down, without cycles, and each library has one room."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LEVELS = [
    {
        "errors",
        "units",
        "service",
        "journal",
        "difference",
        "status",
        "machine",
        "people",
        "figures",
        "regex",
        "macros",
    },
    {"yamlfile", "model", "reload", "signing", "targets"},
    {"places"},
    {"layers"},
    {"backend", "config"},
    {"keeper"},
    {"store", "backends", "courier"},
    {"apps"},
    {"verbs", "engine"},
    {"api", "client", "backup", "install"},
    {"cli", "daemon"},
]
"""From the ground up. A room may import what is on lower levels, and nothing of its own level but itself."""

ONLY_IN = {
    "peewee": {"store"},
    "playhouse": {"store"},
    "sqlite3": {"store"},
    "apscheduler": {"daemon"},
    "yaml": {"yamlfile"},
    "psutil": {"machine", "keeper", "backends"},
    "aiohttp": {"api", "courier"},
    "pytest": {"backends"},  # the contract suite, which nothing else imports
}

LIGHT = {"client", "cli"}
"""What jobctl is made of: these may not reach the rooms of the daemon at all."""
LIGHT_MAY_IMPORT = {"errors", "places", "units", "yamlfile", "status", "client", "cli"}


def rooms() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted((ROOT / "jobd").rglob("*.py")):
        below = path.relative_to(ROOT / "jobd")
        if below.parts[0] != "backends":
            found.setdefault(below.parts[0].removesuffix(".py"), []).append(path)
    found["backends"] = sorted((ROOT / "backends").glob("*.py"))
    found.pop("__init__")
    return found


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, those inside functions and under TYPE_CHECKING too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports by full name only"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def level(room: str) -> int:
    return next(number for number, names in enumerate(LEVELS) if room in names)


def test_every_room_has_its_level():
    assert set(rooms()) == set().union(*LEVELS)


@pytest.mark.parametrize("room", rooms())
def test_imports_only_go_down(room):
    for path in rooms()[room]:
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "backends":
                raise AssertionError(f"{path}: import jobd.backends, never backends")
            if parts[0] != "jobd" or len(parts) == 1 or parts[1] in (room, "__version__"):
                continue
            assert level(parts[1]) < level(room), f"{path} imports {name}, which is not below {room}"
            assert parts[1] != "backends", (
                f"{path}: only load() names a backend, and it does so by configuration"
            )


@pytest.mark.parametrize("room", sorted(LIGHT))
def test_jobctl_reaches_no_room_of_the_daemon(room):
    for path in rooms()[room]:
        reached = {name.split(".")[1] for name in imports(path) if name.startswith("jobd.")}
        assert reached <= LIGHT_MAY_IMPORT | {"__version__"}, path


@pytest.mark.parametrize("library", ONLY_IN)
def test_each_library_has_its_room(library):
    for room, paths in rooms().items():
        for path in paths:
            if library in {name.split(".")[0] for name in imports(path)}:
                assert room in ONLY_IN[library], f"{path} imports {library}"


def test_no_cycles_between_files():
    files = {module(path): path for paths in rooms().values() for path in paths}
    graph = {
        name: {target for used in imports(path) if (target := owner(used, files))}
        for name, path in files.items()
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " > ".join([*way, name])
        if name not in done:
            for target in graph[name] - {name}:
                visit(target, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def module(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "backends":
        parts.insert(0, "jobd")
    return ".".join(parts).removesuffix(".__init__")


def owner(name: str, files: dict[str, Path]) -> str | None:
    return name if name in files else owner(name.rpartition(".")[0], files) if "." in name else None


def test_the_wheel_names_every_package():
    with (ROOT / "pyproject.toml").open("rb") as file:
        named = set(tomllib.load(file)["tool"]["setuptools"]["packages"])
    there = {".".join(path.relative_to(ROOT).parent.parts) for path in (ROOT / "jobd").rglob("__init__.py")}
    assert named == there | {"jobd.backends"}


@pytest.mark.parametrize("room", ["store", "engine"])
def test_a_room_that_lists_its_files_lists_all_of_them(room):
    directory = ROOT / "jobd" / room
    listed = set(re.findall(r"^ *(\w+\.py) ", (directory / "__init__.py").read_text(), re.MULTILINE))
    assert listed == {path.name for path in directory.glob("*.py")} - {"__init__.py"}


@pytest.mark.parametrize("module", ["jobd.cli", "jobd.client"])
def test_jobctl_starts_without_the_heavy_libraries(module):
    heavy = {"pydantic", "aiohttp", "peewee", "apscheduler", "psutil", "yaml", "asyncio", "ssl"}
    program = f"import sys, {module}; print(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert not heavy & set(answer.stdout.split())


def test_the_keeper_process_starts_without_the_heavy_libraries():
    heavy = {"pydantic", "aiohttp", "peewee", "apscheduler", "psutil", "yaml", "asyncio", "typing"}
    program = "import sys; sys.path.insert(0, sys.argv[1]); import jobd.keeper.main; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", program, str(ROOT)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not heavy & set(answer.stdout.split())
