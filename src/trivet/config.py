"""trivet.toml: defaults for the commands' options.

models-dir = "models"       # at the top: for every command that has the option

[train]                     # for `trivet train` alone
data = "data/flights_train.csv"
id = ["flight_id"]

[train.params]              # tables stand for options written NAME=VALUE
learning_rate = 0.1
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import click

from trivet.errors import SettingsError, did_you_mean

#: Tables of the file that stand for an option which takes NAME=VALUE, more than once.
PAIRS = {"params": "param", "kinds": "kind"}


def load_defaults(path: Path, root: click.Group, required: bool) -> dict[str, Any]:
    """The file as click's ``default_map``; nothing where it is absent and not ``required``.

    Raises `SettingsError` for a file that can't be read and for a key that no option has.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise SettingsError(f"{path}: no such file; check --config") from None
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: can't be read as TOML: {error}") from error
    shared = {key: value for key, value in content.items() if not isinstance(value, dict)}
    sections = {key: value for key, value in content.items() if isinstance(value, dict)}
    _require_known(path, "", sections, root.commands)
    every_option = {name for command in _leaves(root) for name in _options(command)}
    _require_known(path, "", shared, every_option)
    return _defaults(path, root, sections, shared)


def _defaults(
    path: Path, group: click.Group, sections: dict[str, Any], shared: dict[str, Any]
) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            defaults[name] = _defaults(path, command, sections.get(name, {}), shared)
            continue
        options = _options(command)
        own = _flat(sections.get(name, {}))
        _require_known(path, f"[{name}] ", own, options)
        merged = {key: value for key, value in shared.items() if key in options} | own
        defaults[name] = {options[key]: value for key, value in merged.items()}
    return defaults


def _options(command: click.Command) -> dict[str, str]:
    """The options of a command as the file calls them, and as click does."""
    return {
        option.opts[0].removeprefix("--"): option.name or ""
        for option in command.params
        if isinstance(option, click.Option)
    }


def _leaves(group: click.Group) -> list[click.Command]:
    leaves: list[click.Command] = []
    for command in group.commands.values():
        leaves += _leaves(command) if isinstance(command, click.Group) else [command]
    return leaves


def _flat(section: dict[str, Any]) -> dict[str, Any]:
    """A section in which tables have become lists of NAME=VALUE."""
    flat: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, dict):
            texts = (item if isinstance(item, str) else json.dumps(item) for item in value.values())
            flat[PAIRS.get(key, key)] = [
                f"{name}={text}" for name, text in zip(value, texts, strict=True)
            ]
        else:
            flat[key.replace("_", "-")] = value
    return flat


def _require_known(path: Path, where: str, keys: Any, known: Any) -> None:
    for key in keys:
        if key.replace("_", "-") not in known:
            hint = did_you_mean(key, known) or f"; there are {', '.join(known)}"
            raise SettingsError(f"{path}: {where}{key} is no setting{hint}")
