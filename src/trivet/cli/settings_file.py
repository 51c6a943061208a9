"""The settings file, trivet.toml: defaults for options.

models-dir = "models"       # at the top: applies to every command that has the option

[train]                     # applies to `trivet train` only
data = "data/flights_train.csv"
id = ["flight_id"]

[train.params]              # each key is one --param NAME=VALUE
learning_rate = 0.1
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from trivet.errors import SettingsError, did_you_mean

#: Tables of the file, and the repeatable option NAME=VALUE that each stands for.
PAIRS = {"params": "param", "kinds": "kind", "forms": "form"}

Section = dict[str, Any]


def load_defaults(path: Path, root: click.Group, required: bool) -> Section:
    """The file as click's ``default_map``; empty if it does not exist and is not ``required``.

    Raises `SettingsError` for a file that cannot be read and for a key that is not an option.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise SettingsError(f"{path}: no such file; check --config") from None
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read as TOML: {error}") from error
    content = {key.replace("_", "-"): value for key, value in content.items()}
    shared = {key: value for key, value in content.items() if not isinstance(value, dict)}
    sections = {key: value for key, value in content.items() if isinstance(value, dict)}
    try:
        _require_known(
            "", shared, [name for command in _leaves(root) for name in _options(command)]
        )
        return _defaults("", root, sections, shared)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


class Filter(click.Option):
    """An option that narrows what is shown: a key at the top of the file does not set it."""


def _defaults(where: str, group: click.Group, sections: Section, shared: Section) -> Section:
    _require_known(where, sections, group.commands)
    defaults: Section = {}
    for name, command in group.commands.items():
        section, place = sections.get(name, {}), f"{where}[{name}] "
        if not isinstance(section, dict):
            raise SettingsError(f"{where}{name} is a section, not a value: write [{name}]")
        if isinstance(command, click.Group):
            defaults[name] = _defaults(place, command, section, shared)
            continue
        options = _options(command)
        own = _with_pairs(section)
        _require_known(place, own, options)
        general = {key for key, option in options.items() if not isinstance(option, Filter)}
        merged = {key: value for key, value in shared.items() if key in general} | own
        defaults[name] = {
            options[key].name: [value] if _wants_list(options[key], value) else value
            for key, value in merged.items()
        }
    return defaults


def _leaves(group: click.Group) -> list[click.Command]:
    leaves: list[click.Command] = []
    for command in group.commands.values():
        leaves += _leaves(command) if isinstance(command, click.Group) else [command]
    return leaves


def _options(command: click.Command) -> dict[str, click.Option]:
    """The options of a command by their name in the file."""
    options = (param for param in command.params if isinstance(param, click.Option))
    return {option.opts[0].removeprefix("--"): option for option in options}


def _wants_list(option: click.Option, value: object) -> bool:
    return option.multiple and not isinstance(value, list)


def _with_pairs(section: Section) -> Section:
    """A section whose tables have become lists of NAME=VALUE, the values in JSON."""
    pairs: Section = {}
    for key, value in section.items():
        if isinstance(value, dict):
            name = PAIRS.get(key, key)
            pairs[name] = [f"{each}={_as_text(name, item)}" for each, item in value.items()]
        else:
            pairs[key.replace("_", "-")] = value
    return pairs


def _as_text(option: str, value: object) -> str:
    return json.dumps(value, default=str) if option == "param" else str(value)


def _require_known(where: str, keys: Section, known: Collection[str]) -> None:
    for key in keys:
        if key not in known:
            hint = did_you_mean(key, known) or f"; use one of {', '.join(dict.fromkeys(known))}"
            raise SettingsError(f"{where}{key} is not a setting{hint}")
