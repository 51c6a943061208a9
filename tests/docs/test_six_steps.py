"""The steps from a CSV to a served model are taken, and what they show is compared."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.conftest import ROOT, copy_checkout, serving
from tests.docs.test_readme import URL, assert_shown, commands_of, output_of

STEPS = (ROOT / "docs/make-it-yours.md").read_text().split("\n## ")[1]


def test_the_six_steps_lead_to_a_served_model(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "trivet")
    (checkout / ".venv").symlink_to(sys.prefix)
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
