"""What SageMaker asks of a container: GET /ping, and POST /invocations with CSV.

It starts the container with the argument ``serve``, which `trivet serve` takes.
"""

from __future__ import annotations

from trivet.online.direct import Dialect
from trivet.online.inference import Query
from trivet.online.live_model import Ready
from trivet.online.negotiation import Headers, choose
from trivet.online.payloads import csv_lines, json_answer, records_of_csv
from trivet.online.schemas import CSV, JSON, TEXT
from trivet.online.service import Service


def add_to(service: Service) -> None:
    """Add the routes."""
    about = "CSV may omit its header line, and is answered with CSV without one, a line a row."
    service.predict_at("/invocations", Dialect("SageMaker", about, CSV, parse_csv, TEXT))
    service.ready_at("/ping", "The same as /health/ready, for SageMaker")


def parse_csv(headers: Headers, body: bytearray, ready: Ready) -> Query:
    """The query of a table with a header line, or with the features in their order.

    Unless Accept asks for JSON, each line of the answer belongs to a row of the body.
    """
    wanted = choose(headers, CSV, JSON)
    records = records_of_csv(body, ready.manifest.contract, header_needed=False)
    return Query(records, csv_lines if wanted == CSV else json_answer, wanted)
