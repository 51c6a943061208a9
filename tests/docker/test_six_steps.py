"""The steps from a CSV to a served model, in containers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

from tests.conftest import read_csv
from tests.docker.conftest import Project
from tests.docs.test_six_steps import STEPS


def test_the_last_step_serves_and_predicts_in_containers(
    new_project: Callable[..., Project],
) -> None:
    project = new_project()
    settings = re.findall(r"```toml\n(.*?)```", STEPS, re.DOTALL)
    (project.folder / "trivet.toml").write_text(settings[0])
    (record,) = re.findall(r"-d '(\{.*?\})'\n", STEPS)
    up, batch, down = re.findall(r"^docker compose .*?(?= *#|$)", STEPS, re.MULTILINE)

    project.do(*shlex.split(up))
    assert project.predict(record.encode())["predictions"][0]["prediction"] == "Adelie"
    project.do(*shlex.split(batch))
    predictions = read_csv(project.folder / "data/predictions/penguins.csv")
    assert len(predictions) == 344
    right = sum(row["prediction"] == row["species"] for row in predictions)
    assert right > 0.95 * len(predictions)
    project.do(*shlex.split(down))
