"""The contestants of `bench/online.py`: how each is started, asked, and its answers read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CACHE, OWN, PEERS = ROOT / ".bench", ROOT / ".venv", ROOT / "bench/peers"
MODELS, MLFLOW_MODEL = CACHE / "models", CACHE / "mlflow-model"
FLIGHTS = "flights"  # the model that all serve
#: A server runs on one core, wrk on another.
SERVER_CORE, CLIENT_CORE = 0, 1

Row = dict[str, Any]
TRIVET, EMPTY, BARE = "trivet", "fastapi-empty", "asgi-bare"


@dataclass(frozen=True)
class Contestant:
    """One server.

    ``environment`` is a folder in the cache, or None for the project's own. ``body`` makes the body
    of a request from rows; ``read`` gets the numbers that were predicted from an answer, and is
    None if none are. ``many`` is the path for many rows per request, or None if it takes one only.
    ``source``, in ``bench/peers``, and ``how`` say how it was run. ``model`` is one of `cases.py`,
    ``cores`` a list for `taskset`.
    """

    name: str
    environment: str | None
    command: str
    path: str
    body: Callable[[list[Row]], Any]
    read: Callable[[Any], list[Any]] | None
    many: str | None
    how: str
    model: str = FLIGHTS
    cores: str = str(SERVER_CORE)
    source: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def bin(self) -> Path:
        return (CACHE / self.environment if self.environment else OWN) / "bin"

    def arguments(self, port: int, other: int) -> list[str]:
        """The command that starts it; ``other`` is a second port, which some need."""
        program, *rest = self.command.split()
        places = {"port": port, "other": other, "peers": PEERS}
        places |= {"models": MODELS, "model": MLFLOW_MODEL}
        return [str(self.bin / program), *(part.format(**places) for part in rest)]

    def variables(self, model: Path, port: int, other: int) -> dict[str, str]:
        """Its environment variables: one thread, and no usage reports."""
        places = {"port": port, "other": other, "model": model}
        own = {name: text.format(**places) for name, text in self.settings.items()}
        own |= {"MODEL": str(model), "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "true"}
        return {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", **own}


def trivet(
    name: str = TRIVET, model: str = FLIGHTS, workers: int = 1, how: str = "", **others: Any
) -> Contestant:
    serve = f"trivet serve --model {model} --workers {workers}"
    return Contestant(
        name=name,
        environment=None,
        command=f"{serve} --models-dir {{models}} --port {{port}}",
        path="/predict",
        body=lambda rows: {"instances": rows} if len(rows) > 1 else rows[0],
        read=lambda answer: [numbers(row) for row in answer["predictions"]],
        many="/predict",
        how=f"`{serve}`{how}",
        model=model,
        **others,
    )


def numbers(row: Any) -> list[float]:
    """The probabilities of all labels but the first, or the prediction of a regression."""
    probabilities = [*row.get("probabilities", {}).values()]
    return probabilities[1:] or [row["prediction"]]


def mlflow() -> Contestant:
    serve = "mlflow models serve --env-manager local --workers 1"
    return Contestant(
        name="mlflow",
        environment="mlflow",
        command=f"{serve} -m {{model}} --host 127.0.0.1 --port {{port}}",
        path="/invocations",
        body=lambda rows: {
            "dataframe_split": {"columns": [*rows[0]], "data": [[*row.values()] for row in rows]}
        },
        read=lambda answer: [row[1] for row in answer["predictions"]],
        many="/invocations",
        how=f"`{serve}`; model saved with a signature; `dataframe_split`",
        source="mlflow_save.py",
        settings={"MLFLOW_DISABLE_TELEMETRY": "true", "UVICORN_ACCESS_LOG": "false"},
    )


def bentoml(name: str, service: str, how: str) -> Contestant:
    serve = f"bentoml serve bentoml_service:{service}"
    return Contestant(
        name=name,
        environment="bentoml",
        command=f"{serve} --working-dir {{peers}} --host 127.0.0.1 --port {{port}}",
        path="/predict",
        body=lambda rows: {"flights": rows},
        read=lambda answer: answer,
        many="/predict",
        how=f"`{serve}`; {how}; no access log, no metrics",
        source="bentoml_service.py",
        settings={"BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(CACHE / "bentoml-home")},
    )


def mlserver(name: str, folder: str, how: str) -> Contestant:
    return Contestant(
        name=name,
        environment="mlserver",
        command=f"mlserver start {{peers}}/mlserver/{folder}",
        path="/v2/models/flights/infer",
        body=inference_request,
        read=lambda answer: answer["outputs"][0]["data"][1::2],
        many="/v2/models/flights/infer",
        how="`mlserver start`; `mlserver-sklearn`, which gets a DataFrame by content type `pd`; "
        f"the default pool of one worker; {how}; no access log, no metrics",
        source=f"mlserver/{folder}/model-settings.json",
        settings={
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{other}",
            "MLSERVER_MODEL_URI": "{model}",
        },
    )


def inference_request(rows: list[Row]) -> Any:
    """Rows in the Open Inference Protocol, which has one input per column."""
    datatypes = {str: "BYTES", int: "INT64", float: "FP64"}
    inputs: list[dict[str, Any]] = [
        {
            "name": name,
            "datatype": datatypes[type(value)],
            "shape": [len(rows), 1],
            "parameters": {"content_type": "str"} if isinstance(value, str) else {},
            "data": [row[name] for row in rows],
        }
        for name, value in rows[0].items()
    ]
    outputs = [{"name": "predict_proba"}]
    return {"parameters": {"content_type": "pd"}, "inputs": inputs, "outputs": outputs}


def litserve() -> Contestant:
    return Contestant(
        name="litserve",
        environment="litserve",
        command="python {peers}/litserve_server.py --port {port}",
        path="/predict",
        body=lambda rows: {"flights": rows},
        read=lambda answer: answer["probabilities"],
        many="/predict",
        how="one API server, one worker, `fast_queue`; no batching; no access log",
        source="litserve_server.py",
    )


def litserve_batching() -> Contestant:
    return Contestant(
        name="litserve-batching",
        environment="litserve",
        command="python {peers}/litserve_server.py --port {port} --batch",
        path="/predict",
        body=lambda rows: {"flight": rows[0]},
        read=lambda answer: [answer["probability"]],
        many=None,  # each request is one element of a batch
        how="as `litserve`, with `max_batch_size` 32 and `batch_timeout` 10 ms",
        source="litserve_server.py",
    )


def on_uvicorn(
    name: str,
    module: str,
    how: str,
    read: Callable[[Any], list[float]] | None = None,
    many: str | None = None,
) -> Contestant:
    return Contestant(
        name=name,
        environment="fastapi",
        command=f"uvicorn {module}:app --app-dir {{peers}} --port {{port}} --loop uvloop "
        "--http httptools --no-access-log --log-level warning",
        path="/predict",
        body=lambda rows: rows if len(rows) > 1 else rows[0],
        read=read,
        many=many,
        how=f"{how}; uvicorn with uvloop and httptools, no access log",
        source=f"{module}.py",
    )


def rsgi() -> Contestant:
    options = "--interface rsgi --runtime-mode st --runtime-threads 1 --loop uvloop"
    return Contestant(
        name="rsgi-bare",
        environment="fastapi",
        command=f"granian {options} --working-dir {{peers}} --port {{port}} rsgi_bare:app",
        path="/predict",
        body=lambda rows: rows[0],
        read=None,
        many=None,
        how=f"`granian {options}`: a server written in Rust; reads the body, answers fixed bytes; "
        "no access log",
        source="rsgi_bare.py",
    )


def probabilities(answer: Any) -> list[float]:
    return [each["probability"] for each in (answer if isinstance(answer, list) else [answer])]


CONTESTANTS = [
    trivet(),
    trivet(
        "trivet-2-workers", workers=2, how="; on both cores", cores=f"{SERVER_CORE},{CLIENT_CORE}"
    ),
    trivet(
        "trivet-uncompiled",
        "flights-uncompiled",
        how="; the same pipeline with a third step, which keeps it from being compiled",
        source="three_steps.py",
    ),
    trivet("trivet-regression", "diabetes", how="; scikit-learn's table, 10 features"),
    trivet("trivet-10-labels", "digits", how="; scikit-learn's table, 60 features, 10 labels"),
    mlflow(),
    bentoml("bentoml", "Plain", "no batching"),
    bentoml("bentoml-batching", "Batching", "adaptive batching, at most 1,000 rows and 1 s"),
    mlserver("mlserver", "plain", "no batching"),
    mlserver("mlserver-batching", "batching", "adaptive batching, `max_batch_size` 32, 5 ms"),
    litserve(),
    litserve_batching(),
    on_uvicorn(
        "fastapi",
        "fastapi_app",
        "a pydantic body; the pipeline predicts in a `def` endpoint",
        read=probabilities,
        many="/predict-many",
    ),
    on_uvicorn(EMPTY, "fastapi_empty", "the same body and answer, nothing predicted"),
    on_uvicorn(BARE, "asgi_bare", "no framework: reads the body, answers fixed bytes"),
    rsgi(),
]
FLOOR_NAMES = [each.name for each in CONTESTANTS if each.read is None]
PEER_NAMES = [each.name for each in CONTESTANTS if each.environment and each.read]
