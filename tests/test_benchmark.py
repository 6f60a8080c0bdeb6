"""The benchmark runs and prints a row for everything it promises. No figure is looked at."""

from __future__ import annotations

import json

import pytest

from tests import benchmark, benchmark_files

TINY = benchmark.Sizes(
    rounds=1, floor=3, one_by_one=3, bulk=4, by_many=5, latencies=2, kills=1, deaf_kills=1, idle_seconds=0.1,
    stored=(20, 200), listings=1, restarts=1, running=3, commands=1,
)  # fmt: skip
WORDS = """
    floor: 4 KB written; posix_spawn + wait
    end to end: one request each; one request with all; 32 clients
    submit: 1 client; 32 clients
    latency: acknowledged; end known
    kill: plain; ignores TERM
    idle: after all this; freshly started; CPU
    jobctl: wall; CPU
    list: 20: no filter; 200: no filter; by creation; owner and status; prefix; two hours; owner, by creation
    restart: 20 stored; 200 stored; 3 running
    running: private memory; CPU
"""


@pytest.fixture(scope="module")
def report() -> benchmark.Report:
    return benchmark.run(TINY)


def test_every_row_is_there(report: benchmark.Report) -> None:
    for line in WORDS.strip().splitlines():
        part, _, words = line.strip().partition(": ")
        for word in words.split("; "):
            assert any(row.part == part and word in row.what for row in report.rows), (part, word)


def test_the_table_and_the_json_have_every_row(
    report: benchmark.Report, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "run", lambda sizes, directory: report)
    benchmark.main([])
    printed = capsys.readouterr().out
    assert all(row.what in printed for row in report.rows)
    benchmark.main(["--json", "--quick"])
    assert len(json.loads(capsys.readouterr().out)["rows"]) == len(report.rows)


def test_files_have_their_rows(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark_files.main(["--megabytes", "1", "--many", "3", "--rounds", "1"])
    printed = capsys.readouterr().out
    for words in ("staged: one file of 1 MB", "staged: 3 files", "archived: one file"):
        assert words in printed
