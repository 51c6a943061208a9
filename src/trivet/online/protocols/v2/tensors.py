"""Tensors as columns of values, and columns as tensors, in JSON or in the binary extension's form.

Binary data follows the JSON, tensor by tensor: numbers in little-endian order, a boolean as a byte
of 0 or 1, a text as its length in four bytes and its UTF-8. A missing value is null in JSON, NaN in
binary numbers with a fraction, and empty text in either; other binary values can't be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from trivet.errors import Fault, RecordsRejected
from trivet.online.payloads import rejected
from trivet.rows.values import FAULTS_LISTED

SIZES = (1, 2, 4, 8)
#: How numpy holds the values of each datatype.
DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in SIZES},
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in SIZES},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in SIZES[1:]},
    "BYTES": np.dtype(object),
}
#: The types that JSON may have for each kind of numpy's, and what they are called.
IN_JSON: Mapping[str, tuple[set[type], str]] = {
    "b": ({bool}, "true or false"),
    "i": ({int}, "a whole number"),
    "u": ({int}, "a whole number from 0"),
    "f": ({int, float}, "a number"),
    "O": ({str}, "text"),
}


class Parameters(BaseModel):
    """Parameters of a request, an input or an output that mean something; others are ignored."""

    binary_data_size: int = Field(default=0, ge=0, description="Bytes that follow the JSON.")
    binary_data: bool | None = Field(default=None, description="Whether an output follows it.")
    binary_data_output: bool = Field(default=False, description="Whether all outputs do.")
    # What MLServer's clients say of columns; other content types would change what the data is.
    content_type: Literal["np", "pd", "str", "datetime"] | None = None
    classification: None = Field(default=None, description="Not supported.")
    shared_memory_region: None = Field(default=None, description="Not supported.")


NO_PARAMETERS = Parameters()


class Tensor(BaseModel):
    """One column of values, in ``data`` or after the JSON; null stands for a missing one."""

    name: str
    shape: list[Annotated[int, Field(ge=0, strict=True)]] = Field(
        fail_fast=True, description="[rows], or [rows, 1]."
    )
    datatype: str = Field(pattern=f"^({'|'.join(DTYPES)})$")
    parameters: Parameters | None = None
    data: list[Any] | None = None


def column_of(tensor: Tensor, binary: memoryview) -> list[Any]:
    """The values of a tensor, one a row, None or NaN for a missing one.

    Without ``data`` they are in ``binary``. Raises `RecordsRejected` with what is not as shape and
    datatype say, up to `FAULTS_LISTED`.
    """
    if not tensor.shape or tensor.shape[1:] not in ([], [1]):
        raise rejected(tensor.name, "type", "the shape [rows] or [rows, 1]")
    if tensor.data is not None and binary:
        raise rejected(tensor.name, "type", "data, or binary data, not both")
    values = (
        _from_binary(tensor, binary) if tensor.data is None else _from_json(tensor, tensor.data)
    )
    if len(values) != tensor.shape[0]:
        expected = f"{tensor.shape[0]:,} values, as the shape says, not {len(values):,}"
        raise rejected(tensor.name, "type", expected)
    return values


def binary_of(values: Sequence[Any], datatype: str) -> bytes:
    """The binary data of an answer's column."""
    if datatype != "BYTES":
        return np.array(values, DTYPES[datatype]).tobytes()
    texts = [value.encode() for value in values]
    return b"".join(part for text in texts for part in (len(text).to_bytes(4, "little"), text))


def _from_json(tensor: Tensor, data: list[Any]) -> list[Any]:
    """The values of ``data``, which may be a list of one value for each row."""
    dtype = DTYPES[tensor.datatype]
    if data and all(type(each) is list and len(each) == 1 for each in data):
        data = [value for (value,) in data]
    try:
        return _held(data, dtype)
    except (ValueError, ArithmeticError):
        expected = f"{IN_JSON[dtype.kind][1]} that {tensor.datatype} can hold"
        return _each(tensor, data, lambda value: _held([value], dtype), expected)


def _held(values: list[Any], dtype: np.dtype[Any]) -> list[Any]:
    """The values as the type holds them; raises an error if it can't hold one."""
    present = [value for value in values if value is not None]
    if not IN_JSON[dtype.kind][0].issuperset(map(type, present)):
        raise ValueError
    if dtype.kind in "iu":
        np.array(present, dtype)
    elif dtype.kind == "f" and dtype.itemsize < SIZES[-1]:
        with np.errstate(over="raise"):
            return list(np.array(values, dtype).tolist())
    return values


def _from_binary(tensor: Tensor, binary: memoryview) -> list[Any]:
    dtype = DTYPES[tensor.datatype]
    if dtype.hasobject:
        return _each(tensor, _elements(tensor, bytes(binary)), bytes.decode, "text in UTF-8")
    if len(binary) % dtype.itemsize:
        raise rejected(tensor.name, "type", f"{dtype.itemsize} bytes of binary data for each value")
    values = np.frombuffer(binary, dtype)
    if dtype.kind == "b" and (values.view(np.uint8) > 1).any():
        raise rejected(tensor.name, "type", "bytes of 0 and 1")
    return list(values.tolist())


def _elements(tensor: Tensor, binary: bytes) -> list[bytes]:
    """The bytes of each text."""
    elements, end = [], 0
    while end < len(binary):
        start = end + 4
        end = start + int.from_bytes(binary[end:start], "little")
        elements.append(binary[start:end])
    if end != len(binary):
        raise rejected(tensor.name, "type", "four bytes of a text's length, and then the text")
    return elements


def _each(
    tensor: Tensor, values: list[Any], convert: Callable[[Any], Any], expected: str
) -> list[Any]:
    """The values converted one by one; raises `RecordsRejected` for those that can't be."""
    converted: list[Any] = []
    faults: list[Fault] = []
    for row, value in enumerate(values):
        try:
            converted.append(convert(value))
        except (ValueError, ArithmeticError):
            faults.append(Fault(row=row, field=tensor.name, code="type", expected=expected))
            if len(faults) == FAULTS_LISTED:
                break
    if faults:
        raise RecordsRejected(faults)
    return converted
