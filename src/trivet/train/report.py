"""The report of a training run, in Markdown and for the terminal."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from trivet.model.artifact import Manifest, RowCounts
from trivet.rows.contract import Column, Contract

#: The most categories, or columns, that a line lists.
LISTED = 8


def render(manifest: Manifest) -> str:
    """The report of a model, in Markdown."""
    contract, data = manifest.contract, manifest.data
    notes = [f"{line} (see rejected.csv)" for line in _rejected(manifest)]
    notes += [*missing_words(data.missing_words), *_notes(manifest)]
    lines = [
        f"# {manifest.name} {manifest.version}",
        "",
        f"{contract.target.task.capitalize()} of {_escaped(contract.target.name)} by "
        f"{manifest.estimator.name}, trained {manifest.created:%Y-%m-%d %H:%M} UTC "
        f"on {_escaped(data.file)} (SHA-256 {data.sha256[:12]}).",
        "",
        f"{_escaped(rows_line(data.rows, manifest.settings))}.",
        "",
        *(f"- {_escaped(line)}" for line in notes),
        *([""] if notes else []),
        metrics_table(manifest),
        "",
        _escaped(_compiled(manifest)),
        "",
        "## Estimator",
        "",
        f"{manifest.estimator.name}, built by the pipeline.py beside this report, with",
        "",
        *(f"- {name}: `{json.dumps(value)}`" for name, value in manifest.estimator.params.items()),
        "",
        "## Features",
        "",
        *features_table(contract),
        "",
        "## Left out",
        "",
        *(_left_out(contract) or ["None."]),
    ]
    return "\n".join(lines) + "\n"


def summary(manifest: Manifest, trained: bool, current: str | None) -> str:
    """What a run prints: what it has made or why it made nothing, and which version is current."""
    if trained:
        lines = [
            *(f"left out {column.name}: {column.reason}" for column in manifest.contract.left_out),
            rows_line(manifest.data.rows, manifest.settings),
            *_rejected(manifest),
            *missing_words(manifest.data.missing_words),
            *_notes(manifest),
            "",
            metrics_table(manifest),
            "",
            _compiled(manifest),
            f"published {manifest.name} {manifest.version}",
        ]
    else:
        inputs = "same data, settings, code and libraries"
        if os.environ.get("TRIVET_IMAGE"):  # an edit beside the image is not in it
            inputs = "same data, settings and libraries, and the code of this image"
        lines = [f"up to date: {manifest.name} {manifest.version} ({inputs})"]
    if current != manifest.version:
        promote = f"trivet models promote --model {manifest.name} {manifest.version}"
        known = f"current is {current}" if current else "no usable version is current"
        lines.append(f"{known}; to use this version: {promote}")
    return "\n".join(lines)


def metrics_table(manifest: Manifest) -> str:
    """The metrics of the held-out rows next to the baseline, as a Markdown table."""
    rows = [
        f"| {name:<23} | {_number(value):>9} | {_number(manifest.baseline[name]):>9} |"
        for name, value in manifest.metrics.items()
    ]
    head = [
        "| held-out metric         |     model |  baseline |",
        f"|{'-' * 25}|{'-' * 10}:|{'-' * 10}:|",
    ]
    return "\n".join([*head, *rows])


def features_table(contract: Contract) -> list[str]:
    """The features of a contract, as a Markdown table."""
    return [
        "| feature | kind | missing | range or categories |",
        "|---|---|---:|---|",
        *(
            f"| {_escaped(column.name)} | {column.kind} | {column.missing:.1%} "
            f"| {_escaped(_span(column))} |"
            for column in contract.columns
        ),
    ]


def rows_line(rows: RowCounts, settings: Mapping[str, JsonValue]) -> str:
    """What became of the rows, in one line."""
    time_column, group_column = settings["time_column"], settings["group_column"]
    by_group = f"groups of {group_column} drawn at random" if group_column else "drawn at random"
    split = f"the last by {time_column}" if time_column else by_group
    sample = (
        f", {rows.sampled:,} of them sampled with seed {settings['seed']}" if rows.sampled else ""
    )
    return (
        f"{rows.total:,} rows{sample}: {rows.train:,} to fit, "
        f"{rows.held_out:,} held out ({split}), "
        f"{rows.without_target:,} dropped: no target value"
    )


def _rejected(manifest: Manifest) -> list[str]:
    """The rejected rows, one line for each cause."""
    rejected = manifest.data.rows.rejected
    return [f"rejected {count:,}: {cause}" for cause, count in rejected.items()]


def missing_words(found: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The cells that held a word for a missing value, in one line; none if no cell did."""
    columns = [
        f"{name} {' and '.join(f'{count:,} {word}' for word, count in words.items())}"
        for name, words in found.items()
    ]
    return [f"read as missing (see --na-value): {_listed(columns)}"] if columns else []


def _left_out(contract: Contract) -> list[str]:
    return [
        *(f"- {_escaped(name)}: identifier, carried through" for name in contract.identifiers),
        *(_escaped(f"- {column.name}: {column.reason}") for column in contract.left_out),
    ]


def _notes(manifest: Manifest) -> list[str]:
    """What to know about the fit, one line each."""
    column = manifest.settings.get("weight_column")
    weighted = f"fitted with the weights of {column}; the metrics count every held-out row once"
    return [*([weighted] if column else []), *(f"warning: {each}" for each in manifest.warnings)]


def _compiled(manifest: Manifest) -> str:
    if manifest.not_compiled is None:
        return "compiled: predicted without scikit-learn, proven equal on the held-out rows"
    return f"not compiled ({manifest.not_compiled}): predicted by scikit-learn"


def _escaped(text: str) -> str:
    """Text of the table as Markdown shows it, on one line; a newline is shown as in JSON."""
    line = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
    return re.sub(r"[\\`|<*]", r"\\\g<0>", line)


def _number(value: float | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.4f}" if round(value, 4) else "0.0000"  # not -0.0000


def _span(column: Column) -> str:
    if column.kind == "boolean":
        return "true, false"
    if column.kind != "category":
        return f"{column.minimum} to {column.maximum}"
    return _listed(column.categories)


def _listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - LISTED
    return f"{', '.join(names[:LISTED])}{f' and {more} more' if more > 0 else ''}"
