"""What is built is what is needed: from the wheel alone, in an empty environment, a job runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

import jobd
from jobd.install import UNITS
from tests.person import Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parent.parent
PAGES = ("man1/jobctl.1", "man5/jobd.yaml.5", "man8/jobd.8")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the sdist, and the wheel that was made from the sdist."""
    source = tmp_path_factory.mktemp("build") / "source"
    leave = shutil.ignore_patterns(".git", ".venv", "__pycache__", "*.egg-info", ".*_cache", "build", "dist")
    shutil.copytree(ROOT, source, symlinks=True, ignore=leave)
    command = [sys.executable, "-m", "build", "--outdir", str(source / "dist"), str(source)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def person() -> Iterator[Person]:
    with tempfile.TemporaryDirectory(prefix="jobd-") as home, Person(Path(home)) as one:
        yield one


@pytest.fixture(scope="module")
def programs(wheel: Path, person: Person) -> Path:
    """Where the wheel's programs are installed: in a place with a space in its name."""
    place = person.home / "my programs"
    venv.create(place, with_pip=True)
    lock = ROOT / "requirements.lock"
    found = person.run(place / "bin/pip", "install", "-q", "-c", lock, wheel)
    assert found.returncode == 0, found.stderr
    return place / "bin"


def test_the_wheel_has_every_module_and_all_that_goes_with_them(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert modules() <= names
    with_them = {
        "jobd/py.typed",
        "jobd/backends/contract.py",
        "jobd/examples/jobd.yaml",
        "jobd/examples/systems/local.yaml",
        "jobd/examples/apps/pyplot.yaml",
        "jobd/examples/apps/pyplot.py",
        *(f"jobd/systemd/{name}" for name in UNITS),
        *(f"jobd/systemd/user/{name}" for name in UNITS[:3]),
        "jobd/examples/systems/slurm.yaml",
        "jobd/examples/systems/pbs.yaml",
    }
    assert with_them <= names
    beside = {name for name in names if not name.startswith("jobd/") and ".dist-info/" not in name}
    assert {name.partition("/data/")[2] for name in beside} == {f"share/man/{page}" for page in PAGES}
    assert [name for name in names if name.endswith("/licenses/LICENSE")]


def modules() -> set[str]:
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "jobd").rglob("*.py")}
    backends = {f"jobd/{path.relative_to(ROOT)}" for path in (ROOT / "backends").rglob("*.py")}
    return {name for name in ours | backends if "__pycache__" not in name}


def test_the_sdist_can_be_built_from_and_has_the_licence(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "jobd/backends/local.py",
        "jobd/examples/jobd.yaml",
    } <= names


def test_its_metadata(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (place,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    said = Parser().parsestr(archive.read(place).decode())
    assert (said["Name"], said["Version"]) == ("jobd-daemon", jobd.__version__)
    assert said["License-Expression"] == "MIT"


def test_a_job_runs_where_only_the_wheel_is(programs: Path, person: Person) -> None:
    found = person.run(programs / "jobctl", "run", "--", "sh", "-c", "echo hello; exit 3")
    assert (found.returncode, found.stdout) == (3, "hello\n"), found.stderr
    last = json.loads(person.run(programs / "jobctl", "show", "last", "--json").stdout)
    assert (last["status"], last["exitCode"]) == ("FAILED", 3)


def test_both_programs_say_their_version(programs: Path, person: Person) -> None:
    assert person.run(programs / "jobd", "--version").stdout == f"jobd {jobd.__version__}\n"
    assert jobd.__version__ in person.run(programs / "jobctl", "version").stdout


def test_the_manual_is_beside_the_programs(programs: Path) -> None:
    assert all((programs.parent / "share/man" / page).is_file() for page in PAGES)


def test_check_config(programs: Path, person: Person) -> None:
    assert person.run(programs / "jobd", "check-config").returncode == 0
    wrong = person.home / "wrong.yaml"
    wrong.write_text("nonsense: 1\n")
    found = person.run(programs / "jobd", "check-config", "--config", wrong)
    assert (found.returncode, f"{wrong}:1:1" in found.stderr) == (78, True)


def test_the_units_start_what_is_installed(programs: Path, person: Person) -> None:
    """From a place with a space in its name."""
    found = person.run(programs / "jobd", "install", "--root", person.home / "root")
    assert found.returncode == 0, found.stderr
    units = person.home / "root/usr/local/lib/systemd/system"
    text = (units / "jobd.service").read_text()
    (start,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    assert re.fullmatch(
        rf'ExecStart="{re.escape(str(programs))}/python[0-9.]*" -P -m jobd.daemon --system', start
    )
    assert "PYTHONPATH" not in text
    assert {path.name for path in units.iterdir()} == set(UNITS)
    config = person.home / "root/etc/jobd/jobd.yaml"
    assert person.run(programs / "jobd", "check-config", "--config", config).returncode == 0


def test_the_examples_are_right_where_they_are_installed(programs: Path, person: Person) -> None:
    where = "import jobd, pathlib; print(pathlib.Path(jobd.__file__).parent / 'examples/jobd.yaml')"
    example = person.run(programs / "python", "-c", where).stdout.strip()
    found = person.run(programs / "jobd", "check-config", "--config", example)
    assert found.returncode == 0, found.stderr


def test_the_client_needs_none_of_the_daemons_libraries(programs: Path, person: Person) -> None:
    script = "import sys, jobd.client; print(sorted({'aiohttp', 'peewee', 'pydantic'} & set(sys.modules)))"
    assert person.run(programs / "python", "-c", script).stdout == "[]\n"
