"""Callers who share connections through a proxy, one of whom sends what may be read in two ways."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Server, free_port, serving, wait_until
from tests.online.callers import Caller, calling
from tests.online.test_faults import FLIGHT, metrics, options
from tests.online.test_wire import GROUPS, LAST, connected, received, writes

pytestmark = pytest.mark.slow

#: What a proxy and the service might take for requests of different lengths.
SMUGGLING = [
    *GROUPS["content-length"].values(),
    *GROUPS["transfer-encoding"].values(),
    *GROUPS["chunks"].values(),
    *GROUPS["trailers"].values(),
    *GROUPS["upgrade"].values(),
]
#: nginx as its manual sets it up for WebSockets, with connections to the service kept open.
NGINX = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr crit;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream service {{
        server 127.0.0.1:{service};
        keepalive 4;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
        }}
    }}
}}
"""


def haproxy(port: int, service: int, folder: Path) -> str:
    """The file of deploy/ for one service on this machine, without Docker's name server."""
    text = (ROOT / "deploy/haproxy.cfg").read_text()
    text = re.sub(r"(?m)^resolvers .*\n(    .*\n)+", "", text)
    text = text.replace(" resolvers docker init-addr none", "").replace("*:", ":")
    text = text.replace("bind :8000", f"bind 127.0.0.1:{port}")
    return re.sub(r"server-template .*", f"server one 127.0.0.1:{service}", text)


def open_haproxy(port: int, service: int, folder: Path) -> str:
    """The same, but upgrades are passed on."""
    return haproxy(port, service, folder).replace("http-request del-header upgrade", "")


def nginx(port: int, service: int, folder: Path) -> str:
    return NGINX.format(port=port, service=service, folder=folder)


PROXIES = {
    "haproxy": (haproxy, ["haproxy", "-db", "-f"]),
    "haproxy that passes upgrades on": (open_haproxy, ["haproxy", "-db", "-f"]),
    "nginx": (nginx, ["nginx", "-c"]),
}


@contextmanager
def proxied(server: Server, name: str, folder: Path) -> Iterator[str]:
    """The URL of a proxy in front of a service."""
    configure, command = PROXIES[name]
    program = shutil.which(command[0], path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        pytest.skip(f"no {command[0]} on this machine: apt-get install {command[0]}")
    port, file = free_port(), folder / "proxy.conf"
    file.write_text(configure(port, int(server.url.rpartition(":")[2]), folder))
    process = subprocess.Popen([program, *command[1:], file])
    front = replace(server, url=f"http://127.0.0.1:{port}")
    try:
        wait_until(lambda: process.poll() is not None or front.get("/health/live")[0] == 200)
        assert process.poll() is None
        yield front.url
    finally:
        process.kill()
        process.wait()


def attack(url: str, case: dict[str, Any]) -> None:
    """Send a case and one more request; read for a second, unless all is answered before."""
    with connected(url) as caller, suppress(OSError):
        for write in writes(case):
            caller.sendall(write)
            time.sleep(0.03)
        caller.sendall(LAST)
        caller.settimeout(1)
        received(caller, b"the-last-one")


@pytest.mark.parametrize("name", PROXIES)
def test_no_caller_behind_a_proxy_gets_the_answer_of_another(
    flights_store: Path, tmp_path: Path, name: str
) -> None:
    bodies = [{"instances": [FLIGHT | {"hour": hour}] * (hour + 1)} for hour in range(8)]
    numbers, wrong, right = count(), [], Counter[int]()
    with (
        serving(*options(flights_store), cwd=tmp_path) as server,
        proxied(server, name, tmp_path) as url,
    ):
        expected = [server.post("/predict", body) for body in bodies]

        def ask(caller: Caller) -> bool:
            number = next(numbers) % len(bodies)
            answer = caller.post(bodies[number])
            right[number] += answer == expected[number]
            if answer != expected[number]:
                wrong.append((number, answer, *caller.lost))
            return True

        with calling(url, 4, ask), ThreadPoolExecutor(8) as attackers:
            [*attackers.map(partial(attack, url), SMUGGLING * 2)]
        assert wrong == []
        assert min(right.values()) > 10
        # What asks for the metrics is a body in every case.
        assert 'trivet_requests_total{route="/metrics",status="200"}' not in metrics(server)
