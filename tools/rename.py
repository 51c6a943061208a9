"""Give a copy of this project a name of its own: `make rename NAME=churn`.

Renames one word (trivet, Trivet, TRIVET) in all text files, and in the names of files and folders:
it is the name of the package, the command, the settings file, the images and the compose project,
and the prefix of environment variables and metrics.

Two things keep the old name: `KEPT_FILES`, and each line that holds `KEPT_LINE`.
"""

from __future__ import annotations

import keyword
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

OLD = "trivet"
ROOT = Path(__file__).parent.parent
KEPT_FILES = {"LICENSE", "CHANGELOG.md"}  # they say whose work this was, and what became of it
KEPT_LINE = "kept by rename"
#: Folders that runs and tools make, for a copy where git can't say which files are its own.
MADE = {"__pycache__", "models", "predictions", "dist"}


def main(new: str) -> None:
    """Rename the project; if that can't be done, end with one line that says why."""
    files = list(own_files())
    if problem := what_is_wrong(new, files):
        raise SystemExit(f"NAME={new}: {problem}")
    if in_git() and git("status", "--porcelain"):
        raise SystemExit(
            "there are changes that are not committed; commit or stash them first, so that "
            "`git diff` shows what was renamed and `git reset --hard` can undo it"
        )
    for path in files:
        rewrite(path, new)
    places = {place for path in files for place in (path, *path.parents)}
    for place in sorted(places, reverse=True):  # what is in a folder comes before the folder
        if OLD in place.name and ROOT in place.parents:
            place.rename(place.with_name(in_line(place.name, new)))
    tidy()
    print(f"{OLD} is now {new}")
    if (ROOT / "models").exists():
        print("models/ holds models of the old name: run `make train`")


def own_files() -> Iterator[Path]:
    """The project's own files, and .env, whose settings are named after the project."""
    if in_git():
        names = {*git("ls-files", "-z").split("\0"), ".env"} - {""}
        yield from (ROOT / name for name in names if (ROOT / name).is_file())
        return
    for path in ROOT.rglob("*"):
        folders = set(path.relative_to(ROOT).parts[:-1])
        hidden = {name for name in folders if name.startswith(".")} - {".ci", ".github"}
        if path.is_file() and not hidden and not folders & MADE:
            yield path


def in_git() -> bool:
    """Whether this is a clone."""
    return (ROOT / ".git").exists()


def git(*arguments: str) -> str:
    """What a git command prints."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def what_is_wrong(new: str, files: list[Path]) -> str | None:
    """Why a name can't be used, and which can."""
    if not re.fullmatch(r"[a-z][a-z0-9]{1,19}", new):
        return (
            "use 2 to 20 lower-case letters and digits, a letter first: one word has to do for "
            "the package, the command and the images"
        )
    if new in used_words(files):
        return "the code uses this word already; choose another"
    installed = {each.name.lower() for each in distributions()}
    if new in {*keyword.kwlist, *sys.stdlib_module_names, *installed} or find_spec(new):
        return "Python or an installed package has this name; choose another"
    return None


def used_words(files: list[Path]) -> set[str]:
    """The names of files, folders, and of anything in the code, the settings and the Makefile."""
    words = {part for path in files for part in re.split(r"\W", str(path.relative_to(ROOT)))}
    for path in files:
        if path.suffix == ".py":
            with path.open("rb") as file:
                words |= {token.string for token in tokenize.tokenize(file.readline)}
        elif path.suffix in (".mk", ".toml", ".yml") or path.name.startswith(
            ("Makefile", "Docker")
        ):
            words |= set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    return words


def rewrite(path: Path, new: str) -> None:
    """Rename the word in a text file; leave any other file alone."""
    if path.relative_to(ROOT).as_posix() in KEPT_FILES:
        return
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return
    lines = text.splitlines(keepends=True)
    renamed = "".join(line if KEPT_LINE in line else in_line(line, new) for line in lines)
    if renamed != text:
        path.write_bytes(renamed.encode())


def in_line(line: str, new: str) -> str:
    """A line with the word renamed in each spelling, and not where it is a part of another word."""
    for spell, letter in ((str.lower, "a-z"), (str.capitalize, "a-z"), (str.upper, "A-Z")):
        word = rf"(?<![{letter}0-9]){spell(OLD)}(?![{letter}0-9])"
        line = re.sub(word, spell(new), line)
    return line


def tidy() -> None:
    """Put imports in order, break lines anew, and mark those that can't be broken."""
    ruff = Path(sys.executable).with_name("ruff")
    if ruff.exists():
        for how in ("check --select I --fix", "format", "check --select E501 --add-noqa"):
            subprocess.run([ruff, *how.split(), "--quiet", ROOT], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:2] or [""])
