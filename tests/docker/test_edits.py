"""An edit of the code takes effect without a build of one's own."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import wait_until
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
