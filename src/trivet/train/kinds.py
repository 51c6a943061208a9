"""What a column of the training table holds: its kind, and the form of its text."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trivet.errors import TrainingError
from trivet.rows.arrays import Rows
from trivet.rows.columns import encode_cells, is_text, python_values, require_columns
from trivet.rows.contract import Column, Form, Kind
from trivet.rows.values import Unfit, as_json_value, category_text, code_of
from trivet.rows.written import forms_of, is_plain, kind_of, read
from trivet.train.settings import TrainSettings
from trivet.train.table import TrainingTable
from trivet.train.values import Values

#: How many different texts are looked at before all are.
FEW_TEXTS = 1000

#: Texts that often stand for a missing number.
PLACEHOLDERS = frozenset({"?", "-", "--", ".", "*"})


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


def numbers_of(values: Values, column: Column, table: TrainingTable) -> Rows:
    """A column that has a value in every row, as floats, (table rows,); raises `TableError`."""
    column = column.model_copy(update={"nullable": False})
    if column.kind == "category":
        column = with_categories(column, values.different(), table)
    return table.encode(values, column)


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


def _forms(different: pa.Array) -> dict[Form, str]:
    """The forms that all of these texts agree on; most columns of text have none."""
    few = different.slice(0, FEW_TEXTS).to_pylist()
    may_have = forms_of(few) or all(map(is_plain, few))
    return forms_of(different.to_pylist()) if may_have else {}


def _written_column(name: str, forms: dict[Form, str], kind: Kind | None) -> Column | None:
    """The column of text of the first form; None if there is none, or the text is of codes."""
    for form, unit in forms.items():
        if kind is None or kind_of(form) == "timestamp" or form == "hour:minute":
            return _column(name, kind_of(form), form, unit)
    return None


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


def _holds(kind: Kind, form: Form) -> bool:
    """Whether what text of a form means can be of this kind."""
    return kind_of(form) == ("number" if kind == "integer" else kind)


def _ambiguous(name: str, forms: Iterable[Form]) -> str:
    flags = " or ".join(f"--form {name}={form}" for form in forms)
    return f"its days may be months ({flags} says which)"


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


def with_categories(column: Column, different: pa.Array, table: TrainingTable) -> Column:
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


def _column(name: str, kind: Kind, form: Form | None = None, unit: str = "") -> Column:
    return Column(name=name, kind=kind, nullable=True, missing=0, form=form, unit=unit)
