"""A batch spread over containers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable

from tests.conftest import wait_until
from tests.docker.conftest import MARK, Project, docker, remove_images


def test_compose_gives_a_cluster_and_hands_it_a_batch(new_project: Callable[..., Project]) -> None:
    project = new_project()
    image = f"trivet-cluster:{MARK}"
    try:
        project.compose("--profile", "cluster", "build", "--quiet", "scheduler")
        up = ("up", "--detach", "--scale", "worker=2", "scheduler", "worker")
        project.compose("--profile", "cluster", *up)
        registered = "Register worker"
        logs = ("--profile", "cluster", "logs", "scheduler")
        wait_until(lambda: project.compose(*logs).count(registered) == 2)
        printed = project.compose("--profile", "cluster", "run", "--rm", "-T", "cluster")
        assert "5,000 rows predicted by flights" in printed
        predictions = project.folder / "data/predictions/flights_november.csv"
        by_cluster = predictions.read_bytes()
        project.compose("run", "--rm", "-T", "batch")
        assert predictions.read_bytes() == by_cluster
        assert docker("port", project.container("scheduler")) == ""
    finally:
        project.compose("--profile", "cluster", "down", "--timeout", "1")
        remove_images(image)
