"""The images in a registry, and back."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import wait_until
from tests.docker.conftest import (
    FLIGHT,
    LEGS,
    MARK,
    Project,
    build_image,
    docker,
    inspect,
    layers,
    remove_images,
)

STAND_IN = """
FROM python:3.13-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends docker-registry
ENV STORAGE="{filesystem: {rootdirectory: /store}}" HTTP="{addr: ':5000'}"
RUN echo "{version: 0.1, storage: $STORAGE, http: $HTTP}" >/config
CMD ["docker-registry", "serve", "/config"]
"""
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def remove_sources(project: Project) -> None:
    """Leave what a server needs that pulls its images."""
    for path in (*project.folder.glob("Dockerfile*"), *project.folder.glob("requirements*.txt")):
        path.unlink()
    shutil.rmtree(project.folder / "src")


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    """The address of an empty registry on loopback."""
    image = name = f"{MARK}-registry"
    build_image(image, STAND_IN)
    docker("run", "--detach", "--name", name, "--publish", "127.0.0.1::5000", image)
    try:
        port = inspect(name)["NetworkSettings"]["Ports"]["5000/tcp"][0]["HostPort"]
        address = f"127.0.0.1:{port}"
        wait_until(lambda: is_up(address), seconds=20)
        yield address
    finally:
        docker("rm", "--force", "--volumes", name)
        remove_images(image)


def is_up(registry: str) -> bool:
    try:
        return ask(registry, "/v2/") == {}
    except OSError:
        return False


def ask(registry: str, path: str) -> dict[str, object]:
    request = urllib.request.Request(f"http://{registry}{path}", headers={"Accept": MANIFEST})
    with urllib.request.urlopen(request, timeout=10) as response:
        content: dict[str, object] = json.load(response)
        return content


def test_the_images_are_pushed_once_a_layer_and_run_after_a_pull(
    registry: str, new_project: Callable[..., Project]
) -> None:
    project = new_project(builds=True)
    make = {"REGISTRY": registry, "TAG": "9.9"}
    images = [f"{registry}/trivet-{leg}:9.9" for leg in LEGS]
    try:
        project.do("make", "push", "REVISION=abc1234", **make)
        assert ask(registry, "/v2/trivet-online/tags/list")["tags"] == ["9.9", "abc1234"]
        stored = "find /store -path '*/blobs/sha256/*' -name data | wc -l"
        blobs = int(docker("exec", f"{MARK}-registry", "sh", "-c", stored))
        # Each layer once, and for each image its configuration and its manifest; the revision's
        # label is the same, so the second tag adds nothing.
        distinct = {digest for image in images for digest in layers(image)}
        assert blobs == len(distinct) + 2 * len(LEGS)
        assert len(distinct) < sum(len(layers(image)) for image in images) / 2

        remove_images(*images, *(f"{registry}/trivet-{leg}:abc1234" for leg in LEGS))
        remove_sources(project)  # what tries to build now fails
        project.do("make", "pull", **make)
        project.compose("up", "--no-build", "--detach", "--wait", "online", **make)
        assert project.predict(FLIGHT)["predictions"]
        assert inspect(project.container("online"))["Config"]["Image"] == images[-1]

        (project.folder / ".env").write_text(f"REGISTRY={registry}\nPULL_POLICY=missing\n")
        user = {"TRIVET_UID": "1000", "TRIVET_GID": "1000"}  # whom the files belong to by now
        project.do("make", "docker-batch-predict", TAG="9.9", **user)
        project.compose("run", "--rm", "batch", TAG="9.9")
    finally:
        project.run("docker", "compose", "down", "--timeout", "1", **make)
        remove_images(*images, *(f"{registry}/trivet-{leg}:abc1234" for leg in LEGS))
