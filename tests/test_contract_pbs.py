"""The contract, kept by the PBS backend: on the stand-in in both dialects, with and without a memory of what
is over, and on a real one where there is one (`pytest -m pbs`, see pbs.py)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobd.backends.contract import BackendContract, Site
from jobd.backends.pbs import PbsBackend
from jobd.keeper.persons import Persons, own_name
from jobd.people import Served
from tests import pbs
from tests.standin_pbs import StandIn


@pytest.fixture(
    scope="module", params=["openpbs", "openpbs without history", "torque", "torque without history"]
)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    dialect, _, forgets = request.param.partition(" ")
    with StandIn(tmp_path_factory.mktemp("pbs"), dialect, remembers=not forgets) as one:
        yield one


class TestStandIn(BackendContract):
    @pytest.fixture
    def site(self, cluster: StandIn, tmp_path: Path) -> Iterator[Site]:
        persons = Persons(tmp_path / "state")
        persons.start()

        def open_backend() -> PbsBackend:
            return PbsBackend(cluster.options, persons)

        directory = cluster.shared / tmp_path.name
        directory.mkdir(exist_ok=True)
        yield Site(
            open_backend(),
            directory,
            again=open_backend,
            contains_everything=False,
            enforces_time=cluster.remembers,
        )
        persons.close()


@pytest.mark.pbs
@pbs.live
class TestPbs(BackendContract):
    @pytest.fixture
    def site(self, tmp_path: Path) -> Iterator[Site]:
        user = pbs.user()
        persons = Persons(tmp_path / "state", served=Served() if user != own_name() else None)
        persons.start()

        def open_backend() -> PbsBackend:
            return PbsBackend(pbs.options(), persons)

        with pbs.shared() as directory:
            mask = os.umask(0)  # what the suite makes below it is for that user to write in
            yield Site(
                open_backend(),
                directory,
                user=user,
                queue=pbs.given("QUEUE"),
                patience=60.0,
                again=open_backend,
                contains_everything=False,
            )
            os.umask(mask)
        persons.close()
