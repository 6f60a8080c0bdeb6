"""What README.md says is so: its first command works for somebody who has just cloned it, and its diagram is
the table's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from jobd.status import diagram
from tests.person import Person

ROOT = Path(__file__).parent.parent


def blocks(language: str) -> list[str]:
    """Of the fenced ones in that language, the contents."""
    text = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_diagram_is_that_of_the_table() -> None:
    assert diagram().strip() in [block.strip() for block in blocks("mermaid")]


@pytest.mark.parametrize("page", ["README.md", ".github/SECURITY.md"])
def test_what_a_page_points_to_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    tests = [f"tests/{name}" for name in re.findall(r"`(test_\w+\.py)`", text)]
    assert links + tests
    assert [place for place in links + tests if not (ROOT / place).exists()] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_first_command_works_from_a_fresh_clone(short_dir: Path) -> None:
    clone = short_dir / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True, timeout=60)
    home = short_dir / "home"
    home.mkdir()
    with Person(home) as person:
        found = person.run("bash", "-euo", "pipefail", "-c", blocks("sh")[0], cwd=clone, timeout=500)
        assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
