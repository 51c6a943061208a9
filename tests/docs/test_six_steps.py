"""A table and features of one's own: the steps are taken, and what they show is compared."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, copy_checkout, serving
from tests.docs.test_readme import URL, assert_shown, commands_of, output_of

STEPS, OWN_FEATURES = (ROOT / "docs/make-it-yours.md").read_text().split("\n## ")[1:3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The project's own files, beside the environment that runs this test."""
    folder = copy_checkout(tmp_path / "trivet")
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.mark.slow
def test_the_six_steps_lead_to_a_served_model(checkout: Path) -> None:
    names: dict[str, str] = {}  # the versions that were printed, by those that the steps show
    taken = 0
    for step in STEPS.split("\n### ")[1:]:
        for settings in re.findall(r"```toml\n(.*?)```", step, re.DOTALL):
            (checkout / "trivet.toml").write_text(settings)
        for command, shown in commands_of(step):
            taken += 1
            if command.startswith("curl"):
                with serving(cwd=checkout) as server:
                    printed = output_of(command.replace(URL, server.url), checkout)
            else:
                printed = output_of(command, checkout)
            assert_shown(shown, printed.splitlines(), command, names)
    assert taken == 7


@pytest.mark.slow
def test_features_of_ones_own_are_made_as_shown(checkout: Path) -> None:
    [(name, code)] = re.findall(r"```python\n# (\S+)\n(.*?)```", OWN_FEATURES, re.DOTALL)
    (checkout / name).write_text(code)
    shown = list(commands_of(OWN_FEATURES))
    assert len(shown) == 2
    for command, lines in shown:
        assert_shown(lines, output_of(command, checkout).splitlines(), command, {})
