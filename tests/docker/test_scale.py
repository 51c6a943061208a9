"""Online containers behind a proxy, deploy/scale.yml. Delete this file along with deploy/."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import wait_until
from tests.docker.conftest import FLIGHT, Project, build_image, docker, inspect, remove_images
from tests.docker.test_compose import answers

SCALED = ("docker-compose.yml", "deploy/scale.yml")
PROXY = "haproxy:3.0"
STAND_IN = """
FROM python:3.13-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends haproxy
"""


@pytest.fixture(scope="module")
def proxy_image() -> Iterator[None]:
    """The official image where it is or can be had, else Debian's package under its name."""
    if docker("image", "ls", "--quiet", PROXY):
        yield
        return
    build_image(PROXY, STAND_IN)
    yield
    remove_images(PROXY)


@pytest.fixture(scope="module")
def scaled(new_project: Callable[..., Project], proxy_image: None) -> Iterator[Project]:
    project = new_project(files=SCALED)
    project.do("make", "docker-scale", "REPLICAS=3")
    wait_until(lambda: answers(project))
    yield project
    project.stop()


def test_one_port_is_published_and_three_containers_answer(scaled: Project) -> None:
    published = scaled.compose("ps", "--format", "{{range .Publishers}}{{.PublishedPort}} {{end}}")
    ports = [port for port in published.split() if port != "0"]
    assert ports == [str(scaled.port)]
    for _ in range(30):
        scaled.predict(FLIGHT)
    for number in (1, 2, 3):
        assert asked(scaled.container("online", number)) > 0


def asked(container: str) -> float:
    """How many predictions a container was asked for, as its metrics say."""
    code = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/metrics').read().decode())"
    page = docker("exec", container, "python", "-c", code, check=False)
    counts = re.findall(r'trivet_requests_total{route="/predict",.*} (.*)', page)
    return sum(map(float, counts))


def test_a_request_for_an_upgrade_is_answered_once_and_takes_no_answer_of_others(
    scaled: Project,
) -> None:
    expected = scaled.predict(FLIGHT)
    hidden = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    length = b"Content-Length: %d\r\n\r\n" % (70_000 + len(hidden))
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", scaled.port), timeout=30) as caller:
            caller.sendall(head + length + b" " * 70_000 + hidden)
            assert caller.recv(65_536).startswith(b"HTTP/1.1 400 ")
        assert scaled.predict(FLIGHT) == expected


def test_each_container_can_be_scraped_by_the_name_of_the_service(scaled: Project) -> None:
    """As Prometheus does with ``dns_sd_configs``, from within the network."""
    code = (
        "import socket, urllib.request as r\n"
        "for at in {each[4][0] for each in socket.getaddrinfo('online', 8000)}:\n"
        "    print(r.urlopen(f'http://{at}:8000/metrics').read().decode())"
    )
    pages = docker("exec", scaled.container("online", 1), "python", "-c", code)
    assert len(re.findall(r"^trivet_model_info{.*} ", pages, re.MULTILINE)) == 3


@pytest.mark.parametrize("end", ["KILL", "TERM"])
def test_no_request_is_lost_when_a_container_goes(end: str, scaled: Project) -> None:
    body = json.dumps({"instances": [json.loads(FLIGHT)] * 200}).encode()
    enough = threading.Event()
    answered: list[int] = []

    def ask() -> None:
        while not enough.is_set():
            answered.append(len(scaled.predict(body)["predictions"]))

    second = scaled.container("online", 2)
    wait_until(lambda: inspect(second)["State"]["Health"]["Status"] == "healthy")
    with ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(ask) for _ in range(4)]
        try:
            wait_until(lambda: len(answered) > 40)
            docker("kill", "--signal", end, second)
            more = len(answered) + 200
            wait_until(lambda: len(answered) > more or any(client.done() for client in asked))
        finally:
            enough.set()
            docker("start", second, check=False)
        for client in asked:
            client.result()
    assert set(answered) == {200}


def test_a_container_that_is_not_ready_gets_no_requests(scaled: Project) -> None:
    """One is added after the model became unreadable to it; the others have theirs in memory."""
    current = scaled.folder / "models/flights/current"
    pointer = current.read_text()
    current.write_text("no pointer")
    try:
        scaled.compose(
            "up", "--detach", "--no-deps", "--no-recreate", "--scale", "online=4", "online"
        )
        for _ in range(40):
            assert scaled.predict(FLIGHT)["predictions"]
    finally:
        current.write_text(pointer)
    assert not asked(scaled.container("online", 4))
