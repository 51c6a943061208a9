"""The report of a training run, in Markdown and for the terminal."""

from __future__ import annotations

import json

from trivet.model.artifact import Manifest
from trivet.rows.contract import Column


def render(manifest: Manifest) -> str:
    """The report of a model, in Markdown."""
    contract, data = manifest.contract, manifest.data
    lines = [
        f"# {manifest.name} {manifest.version}",
        "",
        f"{contract.target.task.capitalize()} of `{contract.target.name}` by "
        f"{manifest.estimator.name}, trained {manifest.created:%Y-%m-%d %H:%M} UTC "
        f"on {data.file} (SHA-256 {data.sha256[:12]}).",
        "",
        f"{_rows(manifest)}.",
        "",
        *(f"- {line} (see rejected.csv)" for line in _rejected(manifest)),
        *(f"- {line}" for line in _notes(manifest)),
        metrics_table(manifest),
        "",
        _compiled(manifest),
        "",
        "## Estimator",
        "",
        f"{manifest.estimator.name}, built by the pipeline.py beside this report, with",
        "",
        *(f"- {name}: `{json.dumps(value)}`" for name, value in manifest.estimator.params.items()),
        "",
        "## Features",
        "",
        "| feature | kind | missing | range or categories |",
        "|---|---|---:|---|",
        *(
            f"| {column.name} | {column.kind} | {column.missing:.1%} | {_span(column)} |"
            for column in contract.columns
        ),
        "",
        "## Left out",
        "",
        *(f"- {name}: identifier, carried through" for name in contract.identifiers),
        *(f"- {column.name}: {column.reason}" for column in contract.left_out),
    ]
    return "\n".join(lines) + "\n"


def summary(manifest: Manifest, trained: bool, current: str | None) -> str:
    """What a run prints: what it has made or why it made nothing, and which version is current."""
    if trained:
        lines = [
            *(f"left out {column.name}: {column.reason}" for column in manifest.contract.left_out),
            _rows(manifest),
            *_rejected(manifest),
            *_notes(manifest),
            "",
            metrics_table(manifest),
            "",
            _compiled(manifest),
            f"published {manifest.name} {manifest.version}",
        ]
    else:
        inputs = "same data, settings, code and libraries"
        lines = [f"up to date: {manifest.name} {manifest.version} ({inputs})"]
    if current != manifest.version:
        promote = f"trivet models promote --model {manifest.name} {manifest.version}"
        lines.append(f"current is {current}; to use this version: {promote}")
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


def _rows(manifest: Manifest) -> str:
    rows, settings = manifest.data.rows, manifest.settings
    time_column = settings["time_column"]
    split = f"the last by {time_column}" if time_column else "drawn at random"
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


def _notes(manifest: Manifest) -> list[str]:
    """What to know about the fit, one line each."""
    column = manifest.settings.get("weight_column")
    weighted = f"weighted by `{column}` to fit; the metrics count every held-out row once"
    return [*([weighted] if column else []), *(f"warning: {each}" for each in manifest.warnings)]


def _compiled(manifest: Manifest) -> str:
    if manifest.not_compiled is None:
        return "compiled: predicted without scikit-learn, proven equal on the held-out rows"
    return f"not compiled ({manifest.not_compiled}): predicted by scikit-learn"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _span(column: Column) -> str:
    if column.kind == "boolean":
        return "true, false"
    if column.kind != "category":
        return f"{column.minimum} to {column.maximum}"
    shown = ", ".join(column.categories[:8])
    more = len(column.categories) - 8
    return f"{shown} and {more} more" if more > 0 else shown
