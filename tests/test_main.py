"""``python -m trivet``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import trivet


def test_python_dash_m_trivet_is_the_command(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "trivet", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(
        f"trivet, version {re.escape(trivet.__version__)}, code [0-9a-f]{{12}}\n", result.stdout
    )
