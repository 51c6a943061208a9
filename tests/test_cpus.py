import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from trivet.cli.commands import main
from trivet.cpus import Workers, cpu_limit, worker_count

HALF_A_CORE = {
    "cgroup v2": {"cpu.max": "50000 100000\n"},
    "cgroup v1": {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"},
}
NO_QUOTA = {
    "cgroup v2": {"cpu.max": "max 100000\n"},
    "cgroup v1": {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
    "no cgroup": {},
}


def cgroup(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("files", HALF_A_CORE.values(), ids=HALF_A_CORE)
def test_a_quota_of_half_a_core_is_one_cpu(files: dict[str, str], tmp_path: Path) -> None:
    assert cpu_limit(cgroup(tmp_path, files)) == 1


@pytest.mark.parametrize("files", NO_QUOTA.values(), ids=NO_QUOTA)
def test_without_a_quota_the_limit_is_what_the_machine_lets_the_process_use(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert cpu_limit(cgroup(tmp_path, files)) == 4


def test_a_quota_above_what_the_machine_has_gives_no_more_than_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert cpu_limit(cgroup(tmp_path, {"cpu.max": "350000 100000\n"})) == 2


@pytest.mark.parametrize(("text", "workers", "count"), [("auto", "auto", cpu_limit()), ("3", 3, 3)])
def test_workers_are_a_number_or_auto(text: str, workers: Workers, count: int) -> None:
    context = main.commands["serve"].make_context("serve", ["--workers", text])
    assert context.params["workers"] == workers
    assert worker_count(workers) == count


def test_other_texts_for_workers_are_refused() -> None:
    result = CliRunner().invoke(main, ["serve", "--workers", "many"])
    assert result.exit_code == 2
    assert "'many' is not a valid" in result.output
