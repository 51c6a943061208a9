"""What docs/make-it-yours.md says may be deleted; nothing, where the page itself was."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import ROOT

PAGE = ROOT / "docs/make-it-yours.md"
HEADING = "| what | delete | and with it |\n"


def deletable() -> dict[str, list[str]]:
    """The files and folders of each row of the table, by what they are."""
    text = PAGE.read_text() if PAGE.exists() else HEADING
    rows = text.split(HEADING)[1].split("\n\n")[0].splitlines()[1:]
    return {
        row.split("|")[1].strip(): re.findall(r"`([^`]+)`", row.split("|", 2)[2]) for row in rows
    }


def was_deleted(path: Path) -> bool:
    """Whether a path that is missing is, or was in, something that may be deleted as a whole."""
    optional = [ROOT / name for names in deletable().values() for name in names]
    return any(gone in (path, *path.parents) and not gone.exists() for gone in optional)
