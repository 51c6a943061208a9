"""Measure image sizes, rebuild times and shared layers, into bench/results/images.md."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
OFFICIAL = os.environ.get("PYTHON_IMAGE", "python:3.13-slim")
TAG = f"bench-{os.getpid()}"
#: The base image plus one empty file, so that no earlier build is found in the cache.
BASE = f"trivet-base:{TAG}"
LEGS = ("train", "batch", "online")
COMPILED = f"trivet-online-compiled:{TAG}"
NAIVE = f"trivet-naive:{TAG}"
RUNS = 3
MB = 1_000_000
made: set[str] = set()


def main() -> None:
    docker("build", "--quiet", "--tag", BASE, "-", stdin=f"FROM {OFFICIAL}\nRUN touch /{TAG}\n")
    with checkout() as folder:
        times = [
            ("only downloads are cached", once(lambda: build(folder))),
            ("nothing has changed", repeated(folder, leave)),
            ("one source file has changed", repeated(folder, edit_code)),
            ("one package of the online leg has changed", once(lambda: drop_package(folder))),
        ]
        for name in ("pyproject.toml", "requirements.txt"):  # so that sizes are of whole legs
            shutil.copy2(ROOT / name, folder / name)
        build(folder)
        build_compiled(folder)
        shutil.copytree(folder, folder / "naive", ignore=lambda *_: ["naive"])
        naive = once(lambda: build_naive(folder / "naive"))
        edit_code(folder / "naive", 0)
        times += [
            ("naive image: nothing is cached", naive),
            (
                "naive image: one source file has changed",
                once(lambda: build_naive(folder / "naive")),
            ),
        ]
        images = [f"trivet-{leg}:{TAG}" for leg in LEGS]
        report = render(images, times)
    docker("image", "rm", "--force", *made, BASE)
    (ROOT / "bench/results").mkdir(exist_ok=True)
    (ROOT / "bench/results/images.md").write_text(report)
    print(report)


@contextmanager
def checkout() -> Iterator[Path]:
    """A copy of the project's files that may be edited."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in listed.stdout.splitlines():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, Path(folder) / name)
        yield Path(folder)


def docker(*arguments: str, cwd: Path = ROOT, stdin: str | None = None) -> str:
    settings = {**os.environ, "TAG": TAG, "PYTHON_IMAGE": BASE, "COMPOSE_PROJECT_NAME": TAG}
    done = subprocess.run(
        ["docker", *arguments],
        cwd=cwd,
        env=settings,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"docker {' '.join(arguments)}: {done.stderr}")
    return done.stdout.strip()


def build(folder: Path) -> None:
    docker("compose", "build", "--quiet", cwd=folder)
    note(*(f"trivet-{leg}:{TAG}" for leg in LEGS))


def build_compiled(folder: Path) -> None:
    arguments = ("--build-arg", f"PYTHON_IMAGE={BASE}", "--build-arg", "RUNTIME=compiled")
    file = ("--file", "Dockerfile.online", *arguments)
    docker("build", "--quiet", "--tag", COMPILED, *file, ".", cwd=folder)
    note(COMPILED)


def build_naive(folder: Path) -> None:
    file = ("--file", "bench/Dockerfile.naive", "--build-arg", f"PYTHON_IMAGE={BASE}")
    docker("build", "--quiet", "--tag", NAIVE, *file, ".", cwd=folder)
    note(NAIVE)


def note(*images: str) -> None:
    """Keep the ids of images, to remove them at the end: the next build takes over their tags."""
    made.update(docker("image", "inspect", "--format", "{{.Id}}", *images).split())


def edit_code(folder: Path, run: int) -> None:
    path = folder / "src/trivet/errors.py"
    path.write_text(f"{path.read_text()}# edit {run}\n")


def leave(folder: Path, run: int) -> None:
    pass


def drop_package(folder: Path) -> None:
    """Like a new version of a package that one leg needs: its layer has to be rebuilt."""
    project, lock = folder / "pyproject.toml", folder / "requirements.txt"
    project.write_text(re.sub(r' *"fastapi-swagger[^"]*",\n', "", project.read_text()))
    lock.write_text(re.sub(r"fastapi-swagger==(.*\\\n)+.*\n", "", lock.read_text()))
    build(folder)


def once(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def repeated(folder: Path, edit: Callable[[Path, int], None]) -> float:
    """The median time of a build after an edit."""
    seconds = []
    for run in range(RUNS):
        edit(folder, run)
        seconds.append(once(lambda: build(folder)))
    return statistics.median(seconds)


def render(images: list[str], times: list[tuple[str, float]]) -> str:
    engine = docker("version", "--format", "{{.Server.Version}}")
    base = size(BASE)
    lines = [
        "# Images",
        "",
        f"Made by `make bench-images` on {time.strftime('%Y-%m-%d')}: engine {engine}, "
        f"{os.cpu_count()} processors, {platform.machine()}. Sizes are on disk, uncompressed, "
        f"in MB (10^6 bytes); the base image, `{OFFICIAL}` here, has {base / MB:.0f} MB.",
        "",
        "| image | without the base | of that bytecode | total |",
        "|---|---:|---:|---:|",
    ]
    for image in (*images, COMPILED, NAIVE):
        own = size(image) - base
        lines.append(
            f"| {image.split(':')[0]} | {own / MB:.0f} | {bytecode(image) / MB:.0f} | "
            f"{size(image) / MB:.0f} |"
        )
    held = {image: layers(image)[len(layers(BASE)) :] for image in images}
    distinct = {layer for own in held.values() for layer in own}
    together = sum(bytes_ for _, bytes_ in distinct)
    lines += [
        "",
        f"Together the three images add {together / MB:.0f} MB to the base: layers that they share "
        "are stored, pushed and pulled once.",
        "",
        "| layer | MB | train | batch | online |",
        "|---|---:|:-:|:-:|:-:|",
    ]
    for digest, bytes_ in sorted(distinct, key=lambda layer: -layer[1]):
        marks = ["x" if (digest, bytes_) in own else "" for own in held.values()]
        lines.append(f"| `{digest[7:19]}` | {bytes_ / MB:.1f} | {' | '.join(marks)} |")
    lines += ["", "| build of all three images when | seconds |", "|---|---:|"]
    lines += [f"| {case} | {seconds:.1f} |" for case, seconds in times]
    return "\n".join(lines) + "\n"


def size(image: str) -> int:
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))


def bytecode(image: str) -> int:
    """Bytes of compiled modules in the environment."""
    find = "find /venv -name '*.pyc' -printf '%s\\n' 2>/dev/null || true"
    found = docker("run", "--rm", "--entrypoint", "sh", image, "-c", find)
    return sum(map(int, found.split()))


def layers(image: str) -> list[tuple[str, int]]:
    """Digest and size of each layer, the lowest first."""
    digests = json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image))
    rows = docker("history", "--no-trunc", "--human=false", "--format", "{{json .}}", image)
    history = [json.loads(row) for row in rows.splitlines()][::-1]
    made = [row for row in history if not is_metadata(row["CreatedBy"])]
    return [(digest, int(row["Size"])) for digest, row in zip(digests, made, strict=True)]


def is_metadata(instruction: str) -> bool:
    """Whether an instruction only sets metadata and makes no layer."""
    word = instruction.removeprefix("/bin/sh -c #(nop) ").split(" ")[0]
    return word in {
        "ARG",
        "CMD",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "LABEL",
        "STOPSIGNAL",
        "USER",
    }


if __name__ == "__main__":
    main()
