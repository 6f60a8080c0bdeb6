"""The contract, kept by the local backend on every rung of containment that can be had here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobd.backends.contract import BackendContract, Site
from jobd.backends.local import LocalBackend
from jobd.errors import Invalid
from jobd.keeper.persons import Persons


@pytest.fixture(params=["cgroup", "subreaper", "group"])
def rung(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestLocal(BackendContract):
    @pytest.fixture
    def site(self, tmp_path: Path, rung: str) -> Iterator[Site]:
        opened: list[Persons] = []

        def open_backend() -> LocalBackend:
            """As after a restart of the daemon: another keeper over the same records."""
            for former in opened:
                former.close()
            persons = Persons(tmp_path / "state", containment=rung)
            opened.append(persons)
            try:
                persons.start()
            except Invalid as why:
                pytest.skip(str(why))
            return LocalBackend({}, persons)

        directory = tmp_path / "work"
        directory.mkdir()
        yield Site(open_backend(), directory, again=open_backend, contains_everything=rung != "group")
        for persons in opened:
            persons.close()
        shutil.rmtree(tmp_path, ignore_errors=True)
