"""Fixtures for everybody. Helpers that are more than that are modules beside this file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import people
from tests.daemon import RunningDaemon


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A temporary directory with a short name: the kernel takes no socket path over 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="jobd-") as name:
        yield Path(name)


@pytest.fixture
def daemon(short_dir: Path) -> Iterator[RunningDaemon]:
    """A real daemon, one person's own, in a directory of its own; its jobs are killed with it."""
    with RunningDaemon(short_dir) as running:
        yield running


@pytest.fixture(scope="module")
def lab() -> Iterator[people.Machine]:
    """A machine with alice and bob, for those who may make one."""
    with people.machine() as made:
        yield made
