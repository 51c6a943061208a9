"""What a table will be learnt as, before anything is fitted."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from trivet.errors import TrainingError
from trivet.model.artifact import RowCounts
from trivet.model.code import DEFAULT, PipelineFile
from trivet.rows.arrays import Rows
from trivet.rows.contract import Contract, Target
from trivet.rows.sources import find_sources
from trivet.train.build import build
from trivet.train.infer import infer_contract
from trivet.train.kinds import needed_column, numbers_of
from trivet.train.report import features_table, missing_words, rows_line
from trivet.train.settings import TrainSettings, Watch
from trivet.train.split import Split, split
from trivet.train.table import Reading, TrainingTable, read_training_table
from trivet.train.target import infer_target
from trivet.train.weights import row_weights


class Plan(NamedTuple):
    """The contract, and the rows encoded by it: those to fit, and those held out.

    ``fitted`` and ``held_out`` are (their rows x features), ``learnt`` and ``truth`` their target,
    and ``weights`` those of the fitted rows, all (their rows,). ``why`` is the reason for the task.
    """

    contract: Contract
    fitted: Rows
    learnt: Rows
    weights: Rows | None
    held_out: Rows
    truth: Rows
    why: str
    warnings: tuple[str, ...]


def plan(table: TrainingTable, settings: TrainSettings) -> Plan:
    """What training makes of a table, which is emptied to save memory.

    Raises `TrainingError`, `TableError` or `SettingsError`.
    """
    target, values, why, notes = infer_target(table, settings)
    parts = _split(table, target, values, settings)
    weights = row_weights(table, target, values, parts.fitted, settings)
    contract, fitted, held_out = infer_contract(
        table, target, parts.fitted, parts.held_out, settings
    )
    warnings = (*notes, *parts.warnings)
    learnt, truth = values[parts.fitted], values[parts.held_out]
    return Plan(contract, fitted, learnt, weights, held_out, truth, why, warnings)


def dry_run(settings: TrainSettings, watch: Watch = lambda *_: None) -> str:
    """What `train` would learn from a table and how, in lines for a person; nothing is fitted.

    Raises `TrivetError`, as `train` would.
    """
    with tempfile.TemporaryDirectory() as folder:  # for standard input
        sources = find_sources(str(settings.data), Path(folder, "stdin"))
        reading = read_training_table(settings, sources, watch)
    planned = plan(reading.table, settings)
    contract, target = planned.contract, planned.contract.target
    build(PipelineFile.read(Path(settings.pipeline or DEFAULT)), contract, settings)
    labels = f": {', '.join(target.label_names)}" if target.labels else ""
    rows = row_counts(reading, len(planned.learnt), len(planned.truth))
    lines = [
        f"{target.task} of {target.name}{labels} ({planned.why})",
        rows_line(rows, settings.shaping()),
        *missing_words(reading.table.missing_words),
        *(f"warning: {each}" for each in planned.warnings),
        *(f"left out {column.name}: {column.reason}" for column in contract.left_out),
        "",
        *features_table(contract),
        "",
        "nothing was trained: --dry-run",
    ]
    return "\n".join(lines)


def row_counts(reading: Reading, fitted: int, held_out: int) -> RowCounts:
    """What became of the rows of a table."""
    total = reading.table.rows
    return RowCounts(
        total=reading.read,
        rejected=dict(reading.rejected),
        sampled=total if total < reading.read else None,
        train=fitted,
        held_out=held_out,
        without_target=total - fitted - held_out,
    )


def _split(table: TrainingTable, target: Target, values: Rows, settings: TrainSettings) -> Split:
    """The rows to fit and those to hold out; what is needed for that is read from the table."""
    moments = groups = None
    if name := settings.time_column:
        cells, column = needed_column(table, name, settings, "time column")
        if column.kind not in ("timestamp", "integer", "number"):
            raise TrainingError(f"time column {name!r} is {column.kind}; it must hold timestamps")
        moments = numbers_of(cells, column, table)
    elif name := settings.group_column:
        cells, column = needed_column(table, name, settings, "group column")
        groups = numbers_of(cells, column, table)
    return split(target, values, settings.held_out, settings.seed, moments, groups)
