"""From a training table to its contract: what each column is, and which can't be a feature."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trivet.errors import TrainingError
from trivet.rows.arrays import Mask, Rows
from trivet.rows.columns import encode_cells, is_text, python_values, require_columns
from trivet.rows.contract import Column, Contract, Form, Kind, LeftOut, Target
from trivet.rows.values import Unfit, as_json_value, category_text, code_of, to_record, to_value
from trivet.rows.written import forms_of, is_plain, kind_of, read
from trivet.train.settings import TrainSettings
from trivet.train.table import TrainingTable
from trivet.train.values import Values

#: An integer target with more values than this is a quantity, not a label.
MOST_LABELS = 20

#: A text column is taken for an identifier if more than this share of its values differ.
NAMES_ROWS = 0.5
WORDS_OF_FREE_TEXT = 4
#: How many different texts are looked at before all are.
FEW_TEXTS = 1000

#: float64 holds every whole number up to this one.
LARGEST_WHOLE = 2**53

#: Texts that often stand for a missing number.
PLACEHOLDERS = frozenset({"?", "-", "--", ".", "*"})

EMPTY = "empty: no training row has a value"

#: Common names of identifiers; pandas writes its row labels to a column without a name.
IDENTIFIER_NAME = re.compile(
    r"|Unnamed: \d+|row_?names?|(.*[_\W])?(id|uuid|guid|key)", re.IGNORECASE
)


class Truth(NamedTuple):
    """The target, its values as floats, (table rows,), and what was decided about it.

    Values are positions in the target's labels, or numbers; NaN where a row has none to learn.
    """

    target: Target
    values: Rows
    why: str
    notes: list[str]


def infer_target(table: TrainingTable, settings: TrainSettings) -> Truth:
    """What is to be predicted; raises `TrainingError` if the column can't be a target."""
    name = settings.target
    values, column = needed_column(table, name, settings, "target")
    kind = column.kind
    if kind == "timestamp":
        raise TrainingError(
            f"target {name!r} is timestamp; it must be numbers or labels (--kind {name}=category "
            "makes its values labels)"
        )
    if kind == "category":
        different, every = values.different(), np.ones(table.rows, dtype=np.bool_)
        if name not in settings.kinds and (
            reason := _names_rows(name, different, values.count(every))
        ):
            raise TrainingError(f"target {name!r} is {reason}")
        column = _with_categories(column, different, table)
    numbers = table.encode(values, column)
    distinct = np.unique(numbers[~np.isnan(numbers)])
    if settings.task == "regression" or (settings.task is None and _is_quantity(kind, distinct)):
        if kind not in ("number", "integer"):
            raise TrainingError(f"target {name!r} holds {kind} values; a regression needs numbers")
        why = "--task" if settings.task else f"{len(distinct):,} different numbers"
        return Truth(Target(name=name, task="regression"), numbers, why, [])
    if kind == "number" and (distinct != np.floor(distinct)).any():
        raise TrainingError(
            f"target {name!r} holds fractions, which can't be labels; use --task regression"
        )
    if np.abs(distinct).max(initial=0) > LARGEST_WHOLE:
        raise TrainingError(f"target {name!r} holds labels beyond 2^53, which float64 can't hold")
    labels: list[Any] = list(column.categories) or [
        bool(value) if kind == "boolean" else int(value) for value in distinct
    ]
    positions = np.where(np.isnan(numbers), np.nan, np.searchsorted(distinct, numbers))
    single = _only_rows(positions, len(labels))
    positions[np.isin(positions, single)] = np.nan
    positions -= np.searchsorted(single, positions)  # close the gaps of the dropped labels
    notes = [f"label {labels[at]}: its only row is dropped; a label needs two" for at in single]
    labels = [label for at, label in enumerate(labels) if at not in single]
    if len(labels) < 2:
        raise TrainingError(
            f"target {name!r} has {len(labels)} label(s) with more than one row; a classifier "
            "needs two"
        )
    if settings.task is None and kind in ("integer", "number") and len(labels) > 2:
        notes.insert(
            0, f"classification of {len(labels)} labels; --task regression if these are amounts"
        )
    why = "--task" if settings.task else _WHY_LABELS[kind]
    found = Target(name=name, task="classification", labels=tuple(labels))
    return Truth(found, positions, why, notes)


#: Why a target of a kind is learnt as labels if no setting says so.
_WHY_LABELS: dict[Kind, str] = {
    "category": "its values are text",
    "boolean": "its values are true and false",
    "integer": f"it has at most {MOST_LABELS} different whole numbers",
    "number": f"it has at most {MOST_LABELS} different whole numbers",
}


def numbers_of(values: Values, column: Column, table: TrainingTable) -> Rows:
    """A column that has a value in every row, as floats, (table rows,); raises `TableError`."""
    column = column.model_copy(update={"nullable": False})
    if column.kind == "category":
        column = _with_categories(column, values.different(), table)
    return table.encode(values, column)


def _only_rows(positions: Rows, labels: int) -> list[int]:
    """The labels, by position, that one row alone has."""
    known = positions[~np.isnan(positions)].astype(int)
    return np.flatnonzero(np.bincount(known, minlength=labels) == 1).tolist()


def needed_column(
    table: TrainingTable, name: str, settings: TrainSettings, role: str
) -> tuple[Values, Column]:
    """A column that training can't do without, and what it holds; its ``role`` is for messages.

    Raises `TableError` if there is no such column, and `TrainingError` if it can't be used.
    """
    require_columns(table.names, (name,), table.name)
    if name in table.unusable:
        raise TrainingError(
            f"{role} {name!r} holds {table.unusable[name]}, which training can't use"
        )
    values = table.columns[name]
    column = infer_column(name, values, table, settings)
    if isinstance(column, str):
        raise TrainingError(f"{role} {name!r}: {column}")
    return values, column


def infer_contract(
    table: TrainingTable, target: Target, training: Mask, held_out: Mask, settings: TrainSettings
) -> tuple[Contract, Rows, Rows]:
    """The contract of a table, and its rows encoded by it: those to fit, and those held out.

    ``training`` and ``held_out`` are (table rows,), the results (their rows x features). Kinds, and
    which columns may be missing, come from all rows; ranges and categories from the training rows
    alone, so a held-out row can hold a category that is unseen. Each column leaves the table once
    it is encoded, so that only one column is in memory twice.
    """
    lists = (settings.identifiers, settings.exclude, settings.kinds, settings.forms)
    require_columns(table.names, chain(*lists, settings.nullable), table.name)
    names = [name for name in table.names if name not in (target.name, *settings.identifiers)]
    # The space for columns that are left out is never written to, so it takes no memory.
    fitted, kept = (np.empty((mask.sum(), len(names)), order="F") for mask in (training, held_out))
    columns: list[Column] = []
    left_out: list[LeftOut] = []
    for name in names:
        match _infer_feature(name, table, training, settings):
            case str(reason):
                left_out.append(LeftOut(name=name, reason=reason))
            case (column, numbers):
                at = len(columns)
                fitted[:, at], kept[:, at] = numbers[training], numbers[held_out]
                columns.append(column)
    pa.default_memory_pool().release_unused()  # the table's memory goes back to the system
    if not columns:
        reasons = "; ".join(f"{column.name} ({column.reason})" for column in left_out)
        reasons = reasons or "there is none but the target and identifiers"
        raise TrainingError(f"{table.name}: no column can be a feature: {reasons}")
    contract = Contract(
        columns=tuple(columns),
        target=target,
        identifiers=tuple(settings.identifiers),
        left_out=tuple(left_out),
        missing_words=tuple(settings.na_values),
        example={},
    )
    fitted, kept = fitted[:, : len(columns)], kept[:, : len(columns)]
    example = to_record(_fullest(fitted), contract)
    return contract.model_copy(update={"example": example}), fitted, kept


def infer_column(
    name: str, values: Values, table: TrainingTable, settings: TrainSettings
) -> Column | str:
    """The kind of a column, and the form of its text; or the reason why it has none.

    They are what the settings say, or follow from its type and, for text, its values. Raises
    `TrainingError` for text that is mostly numbers, or numbers or moments and `PLACEHOLDERS`, and
    `TableError` for a cell that is not of the form that the settings name.
    """
    said = settings.kinds.get(name)
    if not is_text(values.type):
        kind = said or _kind_of_type(values.type)
        return _column(name, kind) if kind else f"values of type {values.type} can't be a feature"
    if name in settings.forms:
        return _of_form(name, settings.forms[name], said, values, table)
    different = values.different()
    if said:
        return _of_kind(name, said, different)
    kind = _plain_kind(name, different, table.untyped)
    if kind not in (None, "category"):
        return _column(name, kind)
    forms = _forms(different)
    if len(forms) > 1:
        return _ambiguous(name, forms)
    if column := _written_column(name, forms, kind):
        return column
    if meant := _meant_as(name, different, kind, table.untyped):
        fault = table.fault(values, meant, np.isinf(values.encode(meant)))
        raise TrainingError(f"{fault}; or, if the column holds labels, --kind {name}=category")
    return _column(name, "category")


def _forms(different: pa.Array) -> dict[Form, str]:
    """The forms that all of these texts agree on; most columns of text have none."""
    few = different.slice(0, FEW_TEXTS).to_pylist()
    may_have = forms_of(few) or all(map(is_plain, few))
    return forms_of(different.to_pylist()) if may_have else {}


def _plain_kind(name: str, different: pa.Array, untyped: bool) -> Kind | None:
    """The kind of text that is written as JSON writes it, or of codes; None for any other text."""
    kinds: tuple[Kind, ...] = ("timestamp",)  # other text in a typed file is meant as text
    if untyped:
        if pc.any(pc.match_substring_regex(different, r"^[+-]?0[0-9]")).as_py():
            return "category"  # a code such as 007: a number would lose its zeros
        decimals = pc.any(pc.match_substring_regex(different, r"[.eE]")).as_py()
        kinds = ("number" if decimals else "integer", "number", "boolean", "timestamp")
    for kind in kinds:
        if not np.isinf(encode_cells(different, _column(name, kind))).any():
            return kind
    return None


def _ambiguous(name: str, forms: Iterable[Form]) -> str:
    flags = " or ".join(f"--form {name}={form}" for form in forms)
    return f"its days may be months ({flags} says which)"


def _of_kind(name: str, said: Kind, different: pa.Array) -> Column | str:
    """A column of the kind that the settings name, with the form of its text if it needs one."""
    column = _column(name, said)
    if not np.isinf(encode_cells(different, column)).any():
        return column
    forms = {form: unit for form, unit in _forms(different).items() if _holds(said, form)}
    if len(forms) > 1:
        return _ambiguous(name, forms)
    for form, unit in forms.items():
        return column.model_copy(update={"form": form, "unit": unit})
    return column


def _holds(kind: Kind, form: Form) -> bool:
    """Whether what text of a form means can be of this kind."""
    return kind_of(form) == ("number" if kind == "integer" else kind)


def _of_form(
    name: str, form: Form, said: Kind | None, values: Values, table: TrainingTable
) -> Column:
    """A column of the form that the settings name; raises `TableError` if a cell has another.

    Raises `TrainingError` if the settings also name a kind that such text can't be of.
    """
    if said and not _holds(said, form):
        raise TrainingError(
            f"column {name!r}: text of the form {form} is {kind_of(form)}, not {said}; leave out "
            f"--form {name}={form}, or --kind {name}={said}"
        )
    read_as = (read(form, text) for text in values.different().to_pylist())
    units = {each.unit for each in read_as if each} - {""}
    column = _column(name, said or kind_of(form), form, min(units, default=""))
    table.encode(values, column)
    return column


def _infer_feature(
    name: str, table: TrainingTable, training: Mask, settings: TrainSettings
) -> tuple[Column, Rows] | str:
    """A feature and its numbers, (table rows,); or the reason why its column can't be one."""
    if name in settings.exclude:
        return "excluded by the settings"
    values = table.columns.pop(name, None)
    if name == settings.time_column:
        return "orders the split in time"
    if name == settings.group_column:
        return "keeps rows together in the split"
    if name == settings.weight_column:
        return "weights the rows"
    if name in table.unusable:
        return f"{table.unusable[name]} can't be a feature"
    if values is None or values.is_empty:
        return EMPTY
    column = infer_column(name, values, table, settings)
    if isinstance(column, str):
        return column
    kind, said = column.kind, name in settings.kinds
    if kind == "category":
        known = values.different(training)
        if not said and (reason := _names_rows(name, known, values.count(training))):
            return reason
        column = _with_categories(column, known, table)
    numbers = table.encode(values, column)
    seen = numbers[training]
    present = seen[~np.isnan(seen)]
    if not len(present):
        return EMPTY
    if not said and (reason := _unusable(name, kind, present, len(seen))):
        return reason
    if not said and kind == "integer" and _numbers_rows(every := numbers[~np.isnan(numbers)]):
        return _identifier(name, kind, len(every), len(every))
    ordered = kind in ("number", "integer", "timestamp")
    facts = {
        "nullable": bool(np.isnan(numbers).any()) or name in settings.nullable,
        "missing": round(1 - len(present) / len(seen), 6),
        "minimum": to_value(column, present.min()) if ordered else None,
        "maximum": to_value(column, present.max()) if ordered else None,
    }
    return column.model_copy(update=facts), numbers


def _column(name: str, kind: Kind, form: Form | None = None, unit: str = "") -> Column:
    return Column(name=name, kind=kind, nullable=True, missing=0, form=form, unit=unit)


def _fullest(rows: Rows) -> Rows:
    """The row with the fewest missing values, (features,); the first if there are several."""
    present = np.zeros(len(rows), dtype=np.int32)
    for column in rows.T:
        present += ~np.isnan(column)
    fullest: Rows = rows[present.argmax()]
    return fullest


def _unusable(name: str, kind: Kind, present: Rows, rows: int) -> str | None:
    """Why a column can't be a feature, or None; ``present`` are its values in this many rows."""
    if kind == "integer" and np.abs(present).max() > LARGEST_WHOLE:
        return (
            "whole numbers beyond 2^53 lose digits as a feature "
            f"(--id {name} carries them along, --kind {name}=category tells them apart, "
            f"--kind {name}=number rounds them)"
        )
    distinct = len(np.unique(present))
    if distinct == 1 and len(present) == rows:
        return "constant: every training row has the same value"
    if kind == "integer" and distinct == len(present) > 1:
        consecutive = present.max() - present.min() == distinct - 1
        if consecutive or IDENTIFIER_NAME.fullmatch(name):
            return _identifier(name, kind, distinct, len(present))
    return None


def _numbers_rows(values: Rows) -> bool:
    """Whether these values, of all rows, count the rows from 0 or 1, in whatever order."""
    counts = values.max() - values.min() == len(values) - 1 and values.min() in (0, 1)
    return bool(counts and len(values) > 2 and len(np.unique(values)) == len(values))


def _names_rows(name: str, different: pa.Array, present: int) -> str | None:
    """Why a text column names rows instead of describing them, or None if it describes them."""
    distinct = len(different)
    if distinct <= max(NAMES_ROWS * present, 2):
        return None
    words = pc.mean(pc.count_substring_regex(different, r"\S+")).as_py()
    what = "free text" if words >= WORDS_OF_FREE_TEXT else "an identifier in disguise"
    return _identifier(name, "category", distinct, present, what)


def _identifier(
    name: str, kind: Kind, distinct: int, rows: int, what: str = "an identifier in disguise"
) -> str:
    return f"{what}: {distinct} different values in {rows} rows (--kind {name}={kind} keeps it)"


def _is_quantity(kind: Kind, distinct: Rows) -> bool:
    has_fractions = bool((distinct != np.floor(distinct)).any())
    return kind in ("number", "integer") and (len(distinct) > MOST_LABELS or has_fractions)


def _kind_of_type(kind: pa.DataType) -> Kind | None:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale <= 0):
        return "integer"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "timestamp"
    return None


def _written_column(name: str, forms: dict[Form, str], kind: Kind | None) -> Column | None:
    """The column of text of the first form; None if there is none, or the text is of codes."""
    for form, unit in forms.items():
        if kind is None or kind_of(form) == "timestamp" or form == "hour:minute":
            return _column(name, kind_of(form), form, unit)
    return None


def _meant_as(name: str, different: pa.Array, kind: Kind | None, untyped: bool) -> Column | None:
    """What a column of text would be without its words for a missing value; None if text."""
    if kind is None and _meant_as_numbers(different, untyped):
        return _column(name, "number")
    stand_in = pc.is_in(pc.utf8_trim_whitespace(different), pa.array(sorted(PLACEHOLDERS)))
    others = different.filter(pc.invert(stand_in))
    if 0 < len(others) < len(different):
        if _plain_kind(name, others, untyped=False) == "timestamp":
            return _column(name, "timestamp")
        return _written_column(name, _forms(others), kind)
    return None


def _meant_as_numbers(different: pa.Array, untyped: bool) -> bool:
    """Whether some of the different texts are numbers, and the others are `PLACEHOLDERS`.

    In an untyped column, others may be any text if nine in ten are numbers.
    """
    numbers = ~np.isinf(encode_cells(different, _column("", "number")))
    if not numbers.any() or numbers.all():
        return False
    others = {text.strip() for text in different.filter(pa.array(~numbers)).to_pylist()}
    return others <= PLACEHOLDERS or bool(untyped and numbers.mean() >= 0.9)


def _with_categories(column: Column, different: pa.Array, table: TrainingTable) -> Column:
    """The column with these categories, as codes if they are numbers however they are written."""
    values = (as_json_value(value, "category") for value in python_values(different))
    try:
        texts = {text for value in values if (text := category_text(value, fractions=True))}
    except Unfit:
        raise TrainingError(
            f"{table.name}: column {column.name!r} of {different.type} values can't hold categories"
        ) from None
    numbers = {code for text in texts if (code := code_of(text))}
    codes = len(numbers) == len(texts) > 0
    categories = tuple(sorted(numbers if codes else texts))
    return column.model_copy(update={"categories": categories, "codes": codes})
