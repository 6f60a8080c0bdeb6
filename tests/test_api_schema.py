"""The OpenAPI document is true: a real daemon answers requests that are made from it, good ones and bad ones,
as it says, and never by a failure of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from jobd.api import openapi
from jobd.api.routes import ROUTES
from tests.daemon import RunningDaemon
from tests.talk import UnixAdapter, ask

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]
ENDLESS = {"/events"}
"""Tested elsewhere."""


def document() -> dict[str, Any]:
    """Without what never ends; waits are short, and requests ask for what is there."""
    whole = openapi.document(ROUTES)
    whole["paths"] = {path: item for path, item in whole["paths"].items() if path not in ENDLESS}
    for parameter in whole["paths"]["/jobs/v2/{id}/wait"]["get"]["parameters"]:
        if parameter["name"] == "timeout":
            parameter["schema"]["maximum"] = 0.01
    request = whole["components"]["schemas"]["JobRequest"]["properties"]
    request["executionSystem"] = {"enum": ["local", None]}
    request["batchQueue"] = {"enum": ["default", None]}
    request["memoryPerNode"] = {"enum": ["1MB", 0.001]}
    for size in ("nodeCount", "processorsPerNode"):
        request[size] = {"enum": [1]}
    request["gpus"] = {"enum": [0]}
    return whole


schema = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module")
def served() -> Iterator[RunningDaemon]:
    with tempfile.TemporaryDirectory(prefix="jobd-") as name, RunningDaemon(Path(name)) as running:
        yield running


@pytest.fixture(scope="module")
def session(served: RunningDaemon) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.mount("http://localhost", UnixAdapter(served.socket))
        yield session


@pytest.fixture(scope="module")
def job_id(served: RunningDaemon) -> str:
    return str(served.run("sh", "-c", "echo out; echo err >&2; exit 3")["id"])


_turn = count()


@schema.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_document_is_true(
    case: schemathesis.Case, session: requests.Session, job_id: str, served: RunningDaemon
) -> None:
    if "id" in case.path_parameters and next(_turn) % 4:  # else almost every answer would be 404
        case.path_parameters["id"] = job_id
        ask(served.socket, "POST", f"/jobs/v2/{job_id}/restore")
    case.call_and_validate(base_url="http://localhost", session=session, checks=CHECKS, timeout=30)
