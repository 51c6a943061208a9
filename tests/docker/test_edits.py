"""An edit of the code takes effect without a build of one's own."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import OWN_PIPELINE, ROOT, read_csv, wait_until
from tests.docker.conftest import LEGS, MARK, Project, edit, inspect, remove_images


@pytest.fixture(scope="module")
def project(new_project: Callable[..., Project]) -> Iterator[Project]:
    """A project that has a model, trained by the first command in a fresh clone."""
    project = new_project(tag=f"{MARK}-edits", builds=True)
    try:
        assert "published" in project.compose("run", "--rm", "train")
        yield project
    finally:
        project.compose("down", "--timeout", "1")
        remove_images(*(project.image(leg) for leg in LEGS))


@pytest.mark.parametrize("command", ["docker compose run --rm train", "make docker-train"])
def test_an_edit_of_the_pipeline_is_trained(command: str, project: Project) -> None:
    pipeline = project.folder / "src/trivet/pipeline.py"
    edit(pipeline, "def build_pipeline(", f"EDITED = {command!r}\n\n\ndef build_pipeline(")
    user = {"TRIVET_UID": "1000", "TRIVET_GID": "1000"}  # whom the models belong to by now
    assert "published" in project.do(*command.split(), **user)


def test_a_replaced_pipeline_goes_through_every_image(project: Project) -> None:
    path = project.folder / "src/trivet/pipeline.py"
    ours = path.read_bytes()
    shutil.copy(OWN_PIPELINE, path)
    project.compose("run", "--rm", "train")
    path.write_bytes(ours)  # the images of the other legs are built without it
    assert "- caution: `0.1`" in project.in_container("train", "trivet models show")
    project.compose("run", "--rm", "--no-deps", "batch")
    rows = read_csv(project.folder / "data/predictions/flights_november.csv")
    assert len(rows) == 5000
    project.compose("up", "--detach", "--wait", "--no-deps", "online")
    answer = project.predict()
    assert answer["model_version"] == rows[0]["model_version"]
    assert project.predict(flight_of(rows[0]))["predictions"][0]["probabilities"] == {
        name: pytest.approx(float(rows[0][f"probability_{name}"])) for name in ("false", "true")
    }


def flight_of(row: dict[str, str]) -> bytes:
    """The record that a row of predictions was made for."""
    for flight in read_csv(ROOT / "data/flights_november.csv"):
        if flight["flight_id"] == row["flight_id"]:
            return json.dumps({name: parsed(value) for name, value in flight.items()}).encode()
    raise AssertionError(row)


def parsed(value: str) -> object:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value or None


def test_an_edit_of_the_service_restarts_it_and_no_edit_does_not(project: Project) -> None:
    up = ("up", "--detach", "--wait", "online")
    project.compose(*up)
    before = inspect(project.container("online"))["Id"]
    project.compose(*up)
    assert inspect(project.container("online"))["Id"] == before
    put_before_title(project, "Edited")
    project.compose(*up)
    wait_until(lambda: title(project).startswith("Edited "))


def test_watch_restarts_the_service_after_an_edit(project: Project) -> None:
    watch = project.start("docker", "compose", "watch", "online")
    try:
        assert watch.stdout
        for line in watch.stdout:
            if "Watch enabled" in line:
                break
        put_before_title(project, "Watched")
        wait_until(lambda: title(project).startswith("Watched "))
    finally:
        watch.send_signal(signal.SIGINT)
        watch.communicate()


def put_before_title(project: Project, word: str) -> None:
    edit(project.folder / "src/trivet/online/app.py", 'title=f"', f'title=f"{word} ')


def title(project: Project) -> str:
    """The title of the service's documentation, or nothing while the service starts."""
    try:
        return str(json.loads(project.get("/openapi.json"))["info"]["title"])
    except OSError:
        return ""
