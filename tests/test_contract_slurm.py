"""The contract, kept by the Slurm backend on a real cluster, with accounting and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobd.backends.contract import BackendContract, Site
from jobd.backends.slurm import SlurmBackend
from jobd.keeper.persons import Persons
from tests import slurm
from tests.slurm import Cluster


@pytest.fixture(scope="module", params=["accounting", "no accounting"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    if why := slurm.missing():
        pytest.skip(why)
    with Cluster(accounting=request.param == "accounting", ProctrackType=slurm.PROCTRACK) as one:
        yield one


class TestSlurm(BackendContract):
    @pytest.fixture
    def site(self, cluster: Cluster, tmp_path: Path) -> Iterator[Site]:
        persons = Persons(tmp_path / "state")
        persons.start()

        def open_backend() -> SlurmBackend:
            return SlurmBackend({"conf": str(cluster.conf)}, persons)

        directory = cluster.shared / tmp_path.name
        directory.mkdir(exist_ok=True)
        yield Site(
            open_backend(),
            directory,
            queue="debug",
            again=open_backend,
            enforces_time=False,
            contains_everything=slurm.PROCTRACK.endswith("cgroup"),
        )
        persons.close()
