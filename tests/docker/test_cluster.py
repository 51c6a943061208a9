"""A batch on a Dask cluster, deploy/cluster.yml. Delete this file along with deploy/."""

from __future__ import annotations

from collections.abc import Callable

from tests.conftest import wait_until
from tests.docker.conftest import MARK, Project, docker, remove_images

CLUSTER = ("docker-compose.yml", "deploy/cluster.yml")


def test_compose_gives_a_cluster_and_hands_it_a_batch(new_project: Callable[..., Project]) -> None:
    project = new_project(files=CLUSTER)
    try:
        project.compose("build", "--quiet", "scheduler")
        project.compose("up", "--detach", "--scale", "worker=2", "scheduler", "worker")
        registered = "Register worker"
        wait_until(lambda: project.compose("logs", "scheduler").count(registered) == 2)
        assert docker("port", project.container("scheduler")) == ""
        printed = project.compose("run", "--rm", "-T", "cluster")
        assert "5,000 rows predicted by flights" in printed
        predictions = project.folder / "data/predictions/flights_november.csv"
        by_cluster = predictions.read_bytes()
        project.compose("run", "--rm", "-T", "batch")
        assert predictions.read_bytes() == by_cluster
    finally:
        project.stop()
        remove_images(f"trivet-cluster:{MARK}")
