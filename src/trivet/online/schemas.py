"""The schemas of bodies: those of answers, and those of requests, made from the contract."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import BaseModel, Field

from trivet.errors import Fault
from trivet.rows.contract import ROW_LABELS, Column, Contract, Kind, Label, Task

Schema = dict[str, Any]

#: The media types of bodies.
JSON, CSV = "application/json", "text/csv"
TEXT: Schema = {"type": "string"}

#: The types of JSON that a value may have: a category may be a number, and a boolean 0 or 1.
TYPES: Mapping[Kind, list[str]] = {
    "number": ["number"],
    "integer": ["integer"],
    "boolean": ["boolean", "integer"],
    "category": ["string", "integer"],
    "timestamp": ["string"],
}
#: What stands for something else in a pattern of JSON Schema.
SPECIAL = re.compile(r"[\^$.*+?()\[\]{}|\\]")

#: How many categories of a feature the documentation page lists.
CATEGORIES_SHOWN = 25


class Prediction(BaseModel):
    """The prediction for one record."""

    prediction: Label | float = Field(description="The most probable label, or the number.")
    probabilities: dict[str, float] | None = Field(
        default=None, description="The probability of each label; a regression has none."
    )


class PredictResponse(BaseModel):
    """The predictions for a request, in the order of its records."""

    predictions: list[Prediction]
    model: str
    model_version: str


class LabelsResponse(BaseModel):
    """The answer to clients that expect no more: the label or the number of each row."""

    predictions: list[Label | float]


class Health(BaseModel):
    """Whether the service can answer, or the process is alive."""

    status: str


class ModelResponse(BaseModel):
    """The model that answers."""

    name: str
    version: str
    created: str
    task: Task
    compiled: bool = Field(description="Whether it predicts without scikit-learn.")
    not_reloaded: str | None = Field(
        description="Why the store's current version could not be loaded, if it is another one."
    )
    contract: Contract
    metrics: dict[str, float | None]
    baseline: dict[str, float | None]


class Problem(BaseModel):
    """Problem details as RFC 9457 defines them; ``errors`` lists the faults of the records."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...] | None = None


def to_json(content: object) -> bytes:
    """Compact JSON; in ASCII if a text in it, such as an unknown field's name, is not UTF-8."""
    try:
        return orjson.dumps(content)
    except orjson.JSONEncodeError:
        return json.dumps(content, separators=(",", ":")).encode()


def reference(name: str) -> Schema:
    """Points to a schema of the OpenAPI document."""
    return {"$ref": f"#/components/schemas/{name}"}


def schemas_of(*models: type[BaseModel]) -> dict[str, Schema]:
    """The schemas of these models, and of those within them, by name."""
    schemas: dict[str, Schema] = {}
    for model in models:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= {**schema.pop("$defs", {}), model.__name__: schema}
    return schemas


def record(contract: Contract) -> Schema:
    """The schema of one row as JSON values."""
    words = "|".join(SPECIAL.sub(r"\\\g<0>", word.strip()) for word in contract.missing_words)
    missing = rf"\s*({words})?\s*$"
    properties = {column.name: _property(column, missing) for column in contract.columns}
    for name in sorted(contract.ignored_names):
        properties[name] = {"description": "Allowed, and ignored: not a feature."}
    return {
        "type": "object",
        "title": "Record",
        "properties": properties,
        "patternProperties": {
            f"^({'|'.join(sorted(ROW_LABELS))})$": {"description": "Row labels of pandas: ignored."}
        },
        "required": [column.name for column in contract.columns if not column.nullable],
        "additionalProperties": False,
        "example": contract.example,
    }


def predict_request(contract: Contract) -> Schema:
    """The schema of a JSON body of /predict."""
    instances: Schema = {
        "type": "object",
        "title": "Records",
        "properties": {
            "instances": {"type": "array", "items": reference("Record")},
            "parameters": {"description": "Allowed, and ignored: Vertex AI's clients send them."},
        },
        "required": ["instances"],
        "additionalProperties": False,
    }
    return {
        "title": "PredictRequest",
        "anyOf": [instances, reference("Record")],
        "example": {"instances": [contract.example]},
    }


def _property(column: Column, missing: str) -> Schema:
    """What `trivet.rows.values` takes for a column; ``missing`` matches text without a value."""
    types = [*TYPES[column.kind], *["number"] * column.codes, *["string"] * bool(column.form)]
    is_text = "string" in types
    if column.nullable:
        types += ["null"] if is_text else ["null", "string"]
    schema: Schema = {"type": list(dict.fromkeys(types)) if len(types) > 1 else types[0]}
    if column.kind == "boolean":
        schema |= {"minimum": 0, "maximum": 1}
    if column.kind == "timestamp" and not column.form:
        moment = {"format": "date-time"}
        schema |= {"anyOf": [moment, {"pattern": f"^{missing}"}]} if column.nullable else moment
    elif column.nullable != is_text:
        schema["pattern"] = f"^{missing}" if column.nullable else f"^(?!{missing})"
    schema["description"] = f"{column.kind.capitalize()}; {_seen(column)}"
    if column.form:
        shown = f"{column.form} {column.unit}".rstrip()
        schema["description"] += f"; text is read by the form {shown}"
    if column.nullable:
        schema["description"] += f"; missing in {column.missing:.1%} of the training rows"
    if column.categories:
        schema["examples"] = list(column.categories[:CATEGORIES_SHOWN])
    return schema


def _seen(column: Column) -> str:
    if column.kind == "boolean":
        return "true or false"
    if column.kind != "category":
        return f"in training {column.minimum} to {column.maximum}"
    shown = ", ".join(column.categories[:CATEGORIES_SHOWN])
    more = len(column.categories) - CATEGORIES_SHOWN
    return f"in training {shown}{f' and {more} more' if more > 0 else ''}; others count as unseen"
