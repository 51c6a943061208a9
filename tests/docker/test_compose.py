"""From a fresh clone to answers, by whoever calls."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import NOVEMBER, read_csv, run_trivet, wait_until
from tests.docker.conftest import FLIGHT, LEGS, MARK, Caller, Project, inspect, remove_images

ROOT_USER = pytest.param(Caller(0, 0), id="root")
ORDINARY = pytest.param(Caller(4321, 4322), id="ordinary")
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become other users")


def owners(folder: Path) -> set[tuple[int, int]]:
    paths = [path for path in folder.rglob("*") if ".home" not in path.parts]
    assert paths
    return {(path.stat().st_uid, path.stat().st_gid) for path in (folder, *paths)}


def writable_by_all(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.rglob("*")) if path.lstat().st_mode & 0o002]


def test_compose_accepts_its_file_without_the_optional_ones(
    new_project: Callable[..., Project],
) -> None:
    project = new_project()
    shutil.rmtree(project.folder / "deploy", ignore_errors=True)
    assert project.compose("config", "--quiet") == ""


def test_one_command_leads_from_a_fresh_clone_to_an_answer(
    new_project: Callable[..., Project],
) -> None:
    project = new_project(tag=f"{MARK}-fresh", builds=True)
    try:
        project.compose("up", "--detach", "--wait", "online")
        curl = f"curl -sS http://127.0.0.1:{project.port}/predict -H Content-Type:application/json"
        answer = json.loads(project.do(*curl.split(), "-d", "@data/flight.json"))
        assert set(answer["predictions"][0]["probabilities"]) == {"false", "true"}
        assert "published flights" in project.compose("logs", "train")

        project.compose("down")
        project.compose("up", "--detach", "--wait")
        assert project.predict(FLIGHT)["predictions"]
        printed = project.compose("logs", "train")
        assert "up to date: flights" in printed
        assert "the code of this image" in printed
        assert project.compose("ps", "--all", "--quiet", "batch") == ""
    finally:
        project.compose("down", "--timeout", "1")
        remove_images(*(project.image(leg) for leg in LEGS))


def test_training_takes_the_options_that_the_compose_file_shows(
    new_project: Callable[..., Project],
) -> None:
    project = new_project()
    compose = (project.folder / "docker-compose.yml").read_text()
    (options,) = re.findall(r"^# .* run --rm train .* options may follow: (.+)$", compose, re.M)
    assert "published flights" in project.compose("run", "--rm", "train", *options.split())


def test_a_batch_in_a_container_equals_one_outside(trained: Project, tmp_path: Path) -> None:
    trained.compose("run", "--rm", "batch")
    config = ("--config", trained.folder / "trivet.toml")
    store = ("--models-dir", tmp_path / "models")
    outside = tmp_path / "outside.csv"
    for command in (
        ("train", "--data", trained.folder / "data/flights_train.csv", *store),
        ("batch-predict", "--input", NOVEMBER, "--output", outside, *store),
    ):
        done = run_trivet(*config, *command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    inside = read_csv(trained.folder / "data/predictions/flights_november.csv")
    rows = list(zip(inside, read_csv(outside), strict=True))
    assert len(rows) == 5000
    for one, other in rows:  # the version differs where the Python outside is another
        assert one["flight_id"] == other["flight_id"]
        assert one["prediction"] == other["prediction"]
        assert float(one["probability_true"]) == pytest.approx(
            float(other["probability_true"]), rel=1e-9
        )


@as_root
@pytest.mark.parametrize("caller", [ROOT_USER, ORDINARY])
def test_by_make_all_that_comes_out_belongs_to_the_caller(
    caller: Caller, new_project: Callable[..., Project]
) -> None:
    project = new_project(caller)
    project.do("make", "docker-serve")
    assert project.predict(FLIGHT)["predictions"]
    project.do("make", "docker-batch-predict")
    assert (project.folder / "data/predictions/flights_november.csv").exists()
    assert owners(project.folder) == {(caller.uid, caller.gid)}
    assert writable_by_all(project.folder) == []
    assert inspect(project.container("online"))["Config"]["Image"] == project.image("online")
    project.do("make", "docker-stop")


@as_root
@pytest.mark.parametrize("caller", [ROOT_USER, ORDINARY])
def test_by_plain_compose_it_works_too_and_belongs_to_uid_1000(
    caller: Caller, new_project: Callable[..., Project]
) -> None:
    project = new_project(caller)
    project.compose("run", "--rm", "batch")
    assert owners(project.folder / "models") == {(1000, 1000)}
    assert owners(project.folder / "data/predictions") == {(1000, 1000)}
    assert writable_by_all(project.folder) == []


@as_root
def test_by_plain_compose_with_ids_in_dot_env_it_belongs_to_the_caller(
    new_project: Callable[..., Project],
) -> None:
    caller = Caller(4321, 4322)
    project = new_project(caller)
    (project.folder / ".env").write_text("TRIVET_UID=4321\nTRIVET_GID=4322\n")
    project.compose("run", "--rm", "batch")
    assert owners(project.folder / "models") == {(4321, 4322)}


@as_root
def test_a_folder_of_another_user_is_left_alone_and_the_error_says_what_to_do(
    new_project: Callable[..., Project],
) -> None:
    project = new_project(Caller(4321, 4322))
    (project.folder / "models").mkdir()
    os.chown(project.folder / "models", 4321, 4322)
    train = project.run("docker", "compose", "run", "--rm", "train")
    assert train.returncode == 1
    assert "models/flights: can't be written to (Permission denied)" in train.stdout


def test_a_missing_settings_file_is_an_error_and_no_folder_of_that_name(
    new_project: Callable[..., Project],
) -> None:
    project = new_project()
    (project.folder / "trivet.toml").unlink()
    assert project.run("docker", "compose", "run", "--rm", "train").returncode != 0
    assert not (project.folder / "trivet.toml").exists()


def test_the_service_comes_back_when_it_dies_and_a_job_does_not(serving: Project) -> None:
    name = serving.container("online")
    # Not `docker kill`: after that the engine takes the container for stopped by hand.
    os.kill(inspect(name)["State"]["Pid"], signal.SIGKILL)
    wait_until(lambda: inspect(name)["RestartCount"] == 1)  # it may answer until the kill arrives
    wait_until(lambda: answers(serving))
    assert inspect(name)["RestartCount"] == 1
    assert inspect(serving.container("train"))["RestartCount"] == 0


def answers(project: Project) -> bool:
    try:
        return bool(project.predict(FLIGHT))
    except OSError:
        return False
