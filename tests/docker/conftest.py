"""Real images and containers on a real engine; what a test makes is removed afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, copy_checkout, free_port, wait_until

LEGS = ("train", "batch", "online")
MARK = f"trivet-test-{os.getpid()}"
FLIGHT = (ROOT / "data/flight.json").read_bytes()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    missing = missing_engine() if here else None
    for item in here:
        item.add_marker("docker")
        if missing:
            item.add_marker(pytest.mark.skip(reason=missing))


def missing_engine() -> str | None:
    """Why there is no Docker here, if there is none."""
    for command in ("docker version", "docker buildx version", "docker compose version"):
        try:
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return "no docker command"
        if done.returncode:
            return f"`{command}`: {(done.stderr.strip() or 'failed').splitlines()[-1]}"
    return None


def docker(*arguments: str | Path, check: bool = True) -> str:
    """Run a docker command; what it printed."""
    done = subprocess.run(
        ["docker", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0 or not check, f"docker {arguments}: {done.stdout}"
    return done.stdout.strip()


def inspect(name: str) -> Any:
    return json.loads(docker("inspect", name))[0]


def layers(image: str) -> list[str]:
    """The digests of an image's layers, the base image's first."""
    return [str(digest) for digest in inspect(image)["RootFS"]["Layers"]]


@dataclass(frozen=True)
class Caller:
    """Whoever calls docker: a user of this machine."""

    uid: int
    gid: int

    def options(self, home: Path) -> dict[str, Any]:
        """The `subprocess` options that make it this user, with access to the engine."""
        if self.uid == os.getuid():
            return {}
        socket = Path("/var/run/docker.sock").stat().st_gid
        return {"user": self.uid, "group": self.gid, "extra_groups": [socket]}


@dataclass
class Project:
    """A checkout of its own, and the compose project that runs in it."""

    folder: Path
    name: str
    caller: Caller
    tag: str
    port: int = field(default_factory=free_port)
    files: tuple[str, ...] = ("docker-compose.yml",)
    builds: bool = False  # as Compose does by default; the images that tests share are there

    def run(self, *command: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout as the caller; settings are named as in .env."""
        process = self.start(*command, **settings)
        output, _ = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, output)

    def start(self, *command: str | Path, **settings: str) -> subprocess.Popen[str]:
        """Start a command as `run` does."""
        given = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        environment = {
            **given,
            "HOME": str(self.folder / ".home"),
            "COMPOSE_PROJECT_NAME": self.name,
            "COMPOSE_FILE": ":".join(self.files),
            "COMPOSE_ANSI": "never",
            "TAG": self.tag,
            "PORT": str(self.port),
            **({} if self.builds else {"PULL_POLICY": "missing"}),
            **settings,
        }
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **self.caller.options(self.folder),
        )

    def do(self, *command: str | Path, **settings: str) -> str:
        done = self.run(*command, **settings)
        assert done.returncode == 0, f"{command}: {done.stdout}"
        return done.stdout

    def compose(self, *arguments: str | Path, **settings: str) -> str:
        return self.do("docker", "compose", *arguments, **settings)

    def in_container(self, leg: str, code: str, **settings: str) -> str:
        """What a line of shell prints in a leg's container."""
        run = ("run", "--rm", "--no-deps", "-T", "--entrypoint", "sh")
        return self.compose(*run, leg, "-c", code, **settings).strip()

    def container(self, service: str, number: int = 1) -> str:
        return f"{self.name}-{service}-{number}"

    def get(self, path: str) -> bytes:
        return self._ask(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}"))

    def predict(self, body: bytes = FLIGHT) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/predict", body, {"Content-Type": "application/json"}
        )
        return json.loads(self._ask(request))

    def _ask(self, request: urllib.request.Request) -> bytes:
        with urllib.request.urlopen(request, timeout=30) as response:
            content: bytes = response.read()
            return content

    def stop(self) -> None:
        """Stop without naming the optional files, as a user may; nothing of the project is left."""
        self.do("make", "docker-stop", COMPOSE_FILE="docker-compose.yml")
        mine = f"label=com.docker.compose.project={self.name}"
        assert docker("ps", "--all", "--quiet", "--filter", mine) == ""
        assert docker("network", "ls", "--quiet", "--filter", mine) == ""

    def image(self, leg: str) -> str:
        return f"trivet-{leg}:{self.tag}"

    def remove(self) -> None:
        """Remove the containers, networks and files."""
        self.run("docker", "compose", "down", "--remove-orphans", "--volumes", "--timeout", "1")
        shutil.rmtree(self.folder)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def build_image(name: str, dockerfile: str) -> None:
    """Build an image from a Dockerfile that copies nothing."""
    done = subprocess.run(
        ["docker", "build", "--quiet", "--tag", name, "-"],
        input=dockerfile, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def remove_images(*names: str) -> None:
    docker("image", "rm", "--force", *names, check=False)


@pytest.fixture(scope="session", autouse=True)
def no_build_cache_left() -> Iterator[None]:
    """Removes what came to the build cache meanwhile, gigabytes of it; what was there stays."""
    before = cached()
    yield
    if made := cached() - before:
        docker("builder", "prune", "--all", "--force", "--filter", f"id=^({'|'.join(made)})$")


def cached() -> set[str]:
    """The ids of what the builder keeps, a star behind those in use."""
    kept = docker("system", "df", "--verbose", "--format", "{{json .BuildCache}}")
    return {entry["ID"].rstrip("*") for entry in json.loads(kept)}


@pytest.fixture(scope="session")
def rounds() -> list[dict[str, list[str]]]:
    """The layers of each leg's image, from two rounds of builds, one leg after the other.

    No build uses the cache, so the builder ends up with several results of every step that the legs
    share. The files of the second round have other times and permissions than those of the first.
    """
    folders = [copy_checkout(Path(tempfile.mkdtemp())) for _ in range(2)]
    for path in folders[1].rglob("*"):
        path.chmod(path.stat().st_mode | 0o020)
        os.utime(path, (0, 0))
    try:
        return [{leg: layers_built_alone(leg, folder) for leg in LEGS} for folder in folders]
    finally:
        for folder in folders:
            shutil.rmtree(folder)


def layers_built_alone(leg: str, folder: Path) -> list[str]:
    """Build a leg's image without the cache and without Compose, and remove it again."""
    image = f"{MARK}-{leg}-alone"
    dockerfile = ("--file", folder / f"Dockerfile.{leg}")
    try:
        docker("build", "--no-cache", "--tag", image, *dockerfile, folder)
        return layers(image)
    finally:
        remove_images(image)


@pytest.fixture(scope="session")
def tag(rounds: object) -> Iterator[str]:
    """The tag of the images that all tests share, built by a builder that has built them before."""
    folder = copy_checkout(Path(tempfile.mkdtemp()))
    project = Project(folder, MARK, Caller(os.getuid(), os.getgid()), MARK)
    try:
        project.compose("build", "--quiet", VERSION="1.2.3", REVISION="abc1234")
        yield MARK
    finally:
        remove_images(*(project.image(leg) for leg in LEGS))
        project.remove()


@pytest.fixture(scope="session")
def new_project(tag: str) -> Iterator[Callable[..., Project]]:
    """Makes projects, each in a fresh checkout that belongs to its caller."""
    made: list[Project] = []

    def new_project(caller: Caller | None = None, **options: Any) -> Project:
        # Not under pytest's own folder, which only its user can enter.
        folder = Path(tempfile.mkdtemp())
        caller = caller or Caller(os.getuid(), os.getgid())
        options = {"name": f"{MARK}-{len(made)}", "tag": tag, **options}
        project = Project(copy_checkout(folder), caller=caller, **options)
        made.append(project)
        if caller.uid != os.getuid():
            for path in (folder, *folder.rglob("*")):
                os.chown(path, caller.uid, caller.gid)
        return project

    yield new_project
    for project in made:
        project.remove()


@pytest.fixture(scope="module")
def trained(new_project: Callable[..., Project]) -> Project:
    """A project that has a model."""
    project = new_project()
    project.compose("run", "--rm", "train")
    return project


@pytest.fixture(scope="module")
def serving(new_project: Callable[..., Project]) -> Project:
    """A project that serves."""
    project = new_project()
    project.compose("up", "--detach", "--wait", "online")
    wait_until(lambda: project.get("/health/ready") != b"")
    return project
