"""The service, from outside: what it answers, and how it refuses."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import fastapi.openapi.utils
import pytest
from fastapi.testclient import TestClient

from tests.conftest import TRIVET, free_port, ready_client, run_trivet, serving, wait_until
from tests.online.asking import ASKED, FLIGHT, problem
from trivet.errors import SettingsError
from trivet.model.artifact import Artifact
from trivet.online.app import create_app
from trivet.online.deadlines import Deadlines
from trivet.online.settings import ListenSettings, ServeSettings


def test_one_bare_record(client: TestClient, flights: Artifact) -> None:
    body = client.post("/predict", json=FLIGHT).json()
    assert body.keys() == {"predictions", "model", "model_version"}
    assert (body["model"], body["model_version"]) == ("flights", flights.manifest.version)
    (answer,) = body["predictions"]
    assert answer["prediction"] is False
    assert answer["probabilities"].keys() == {"false", "true"}
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


def test_many_records_are_answered_in_order(client: TestClient) -> None:
    delays = [240, -5, 60, 0]
    instances = [{**FLIGHT, "dep_delay": delay} for delay in delays]
    answers = client.post("/predict", json={"instances": instances}).json()["predictions"]
    alone = [client.post("/predict", json=record).json()["predictions"][0] for record in instances]
    assert [answer["prediction"] for answer in answers] == [True, False, True, False]
    assert answers == alone


def test_no_records_have_no_answers(client: TestClient) -> None:
    response = client.post("/predict", json={"instances": []})
    assert (response.status_code, response.json()["predictions"]) == (200, [])


def test_identifiers_and_the_target_are_ignored(client: TestClient) -> None:
    named = {**FLIGHT, "flight_id": "UA-1", "late": True, "time_hour": None}
    assert client.post("/predict", json=named).json() == client.post("/predict", json=FLIGHT).json()


def test_every_fault_is_listed_at_once(client: TestClient) -> None:
    bad = {**FLIGHT, "month": "November", "dep_dealy": 3}
    del bad["distance"]
    body = problem(client.post("/predict", json={"instances": [FLIGHT, bad, 7]}), 422)
    found = [(fault.get("row"), fault.get("field"), fault["code"]) for fault in body["errors"]]
    assert found == [
        (1, "dep_dealy", "unknown_field"),
        (1, "month", "type"),
        (1, "distance", "missing"),
        (2, None, "not_a_record"),
    ]
    assert body["errors"][0]["nearest"] == "dep_delay"
    assert body["errors"][1]["expected"] == "a whole number"


def test_a_name_that_utf_8_cannot_hold_is_a_fault_like_any_other(client: TestClient) -> None:
    body = '{"\\ud800": 1}'
    response = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert problem(response, 422)["errors"][0]["field"] == "\ud800"


@pytest.mark.parametrize("instances", [None, {}, "text", 7])
def test_instances_that_are_no_list_are_one_fault(client: TestClient, instances: object) -> None:
    body = problem(client.post("/predict", json={"instances": instances}), 422)
    assert [fault["field"] for fault in body["errors"]] == ["instances"]


@pytest.mark.parametrize("body", ["7", '"text"', "null", "[]", "[{}]", '{"instances": [], "x": 1}'])
def test_json_that_holds_no_records_is_422(client: TestClient, body: str) -> None:
    response = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert problem(response, 422)["errors"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"{'a': 1}", b"\xff\xfe{}", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_broken_json_is_400(client: TestClient, body: bytes) -> None:
    response = client.post("/predict", content=body, headers={"content-type": "application/json"})
    problem(response, 400)


def test_another_media_type_is_415(client: TestClient) -> None:
    form = "application/x-www-form-urlencoded"
    response = client.post("/predict", content="{}", headers={"content-type": form})
    assert "Content-Type: application/json" in problem(response, 415)["detail"]


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "application/x+json", ""]
)
def test_json_by_other_names_is_taken(client: TestClient, media_type: str) -> None:
    headers = {"content-type": media_type} if media_type else {}
    response = client.post("/predict", content=json.dumps(FLIGHT), headers=headers)
    assert response.status_code == 200


def test_unknown_paths_and_wrong_methods(client: TestClient) -> None:
    assert "/nowhere" in problem(client.get("/nowhere"), 404)["detail"]
    problem(client.post("/predict/", json=FLIGHT), 404)
    response = client.get("/predict")
    assert "does not take GET" in problem(response, 405)["detail"]
    assert response.headers["allow"] == "POST"


def test_unexpected_trouble_is_a_500_without_a_traceback(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("trivet.online.inference._write", fail)
    response = client.post("/predict", json=FLIGHT)
    assert "secret" not in json.dumps(problem(response, 500))


def test_health(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "alive"}
    assert client.get("/health/ready").json() == {"status": "ready"}
    assert client.get("/health").json() == {"status": "ready"}
    for path in ("/health/live", "/health/ready", "/health"):
        assert client.head(path).status_code == 200


def test_a_service_without_a_model_is_live_and_not_ready(tmp_path: Path) -> None:
    settings = ServeSettings("flights", models_dir=tmp_path)
    with TestClient(create_app(settings)) as client:
        assert client.get("/health/live").status_code == 200
        for path in ("/health", "/health/ready", "/model"):
            assert "not ready" in problem(client.get(path), 503)["detail"]
        assert "train one first" in client.post("/predict", json=FLIGHT).json()["detail"]
        assert client.get("/openapi.json").status_code == 200


def test_a_service_without_a_model_is_ready_as_soon_as_there_is_one(
    flights: Artifact, tmp_path: Path
) -> None:
    with TestClient(create_app(ServeSettings("flights", models_dir=tmp_path))) as client:
        assert client.get("/health/ready").status_code == 503
        shutil.copytree(flights.path.parent, tmp_path / "flights")
        wait_until(lambda: client.get("/health/ready").status_code == 200)
        assert client.post("/predict", json=FLIGHT).status_code == 200


def test_work_in_the_background_does_not_end_unnoticed(
    flights_store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(self: Deadlines) -> None:
        raise RuntimeError("no watch is kept")

    monkeypatch.setattr(Deadlines, "watch", fail)
    with ready_client(ServeSettings("flights", models_dir=flights_store)):
        wait_until(lambda: any(record.levelname == "CRITICAL" for record in caplog.records))
    (record,) = [each for each in caplog.records if each.levelname == "CRITICAL"]
    assert record.exc_info
    assert str(record.exc_info[1]) == "no watch is kept"


def test_the_model_page_is_cached_until_the_version_changes(
    client: TestClient, flights: Artifact
) -> None:
    response = client.get("/model")
    body = response.json()
    assert (body["name"], body["version"]) == ("flights", flights.manifest.version)
    assert body["contract"] == json.loads(flights.manifest.contract.model_dump_json())
    assert body["metrics"] == flights.manifest.metrics
    assert response.headers["cache-control"] == "no-cache"
    tag = response.headers["etag"]
    for header in (tag, f'W/{tag}, "other"', "*"):
        again = client.get("/model", headers={"if-none-match": header})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get("/model", headers={"if-none-match": '"other"'}).status_code == 200


def test_the_index_links_to_what_there_is(client: TestClient) -> None:
    links = client.get("/").json()
    assert set(links.values()) >= {"/predict", "/model", "/docs", "/health/ready"}
    for path in links.values():
        assert client.get(path).status_code in (200, 405), path


def test_openapi_shows_the_fields_of_the_contract(client: TestClient, flights: Artifact) -> None:
    document = client.get("/openapi.json").json()
    record = document["components"]["schemas"]["Record"]
    contract = flights.manifest.contract
    assert set(contract.feature_names) <= record["properties"].keys()
    assert record["required"] == [c.name for c in contract.columns if not c.nullable]
    assert record["properties"]["month"]["type"] == "integer"
    assert record["properties"]["wind_gust"]["type"] == ["number", "null", "string"]
    assert "in training 1 to" in record["properties"]["month"]["description"]
    assert "EWR" in record["properties"]["origin"]["examples"]
    used = json.dumps(document).split("#/components/schemas/")[1:]
    assert {name.split('"')[0] for name in used} <= document["components"]["schemas"].keys()


def test_openapi_of_the_routes_is_made_once(
    flights: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    of_route = fastapi.openapi.utils.get_openapi_path

    def counted(*, route: Any, **options: Any) -> Any:
        made.append(route.path)
        return of_route(route=route, **options)

    monkeypatch.setattr(fastapi.openapi.utils, "get_openapi_path", counted)
    with TestClient(create_app(ServeSettings("flights", models_dir=tmp_path))) as client:
        before = client.get("/openapi.json").json()["components"]["schemas"]
        assert before["PredictRequest"]["description"] == "Known once ready."
        routes = len(made)
        shutil.copytree(flights.path.parent, tmp_path / "flights")
        wait_until(lambda: client.get("/health/ready").status_code == 200)
        after = client.get("/openapi.json").json()["components"]["schemas"]
    assert "month" in after["Record"]["properties"]
    assert len(made) == routes > 0


def test_the_example_works_when_it_is_pasted(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("Record", "PredictRequest"):
        assert client.post("/predict", json=schemas[name]["example"]).status_code == 200


def test_the_documentation_needs_no_internet(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        assert f"docs/assets/{asset}" in page
        assert len(client.get(f"/docs/assets/{asset}").content) > 500


def test_a_process_of_its_own_answers_and_stops_with_0(flights_store: Path, tmp_path: Path) -> None:
    options = ("--model", "flights", "--models-dir", str(flights_store))
    with serving(*options, cwd=tmp_path) as server:
        status, body = server.post("/predict", FLIGHT)
        assert status == 200
        assert body["predictions"][0]["prediction"] is False
        assert f"listening on {server.url}" in server.logs()[0]["message"]
    assert server.process.returncode == 0


def test_nothing_below_the_log_level_is_logged(flights_store: Path, tmp_path: Path) -> None:
    port = str(free_port())
    options = ["--model", "flights", "--models-dir", str(flights_store), "--port", port]
    options += ["--log-level", "error", "--access-log"]
    with subprocess.Popen([TRIVET, "serve", *options], stdout=subprocess.PIPE) as process:
        wait_until(lambda: run_trivet("health", "--port", port, cwd=tmp_path).returncode == 0)
        process.terminate()
        assert process.communicate()[0] == b""


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"log_level": "loud"}, "log_level='loud'"), ({"tls_key": "k"}, "both")],
)
def test_settings_that_can_not_be_used(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        ListenSettings(**settings)


def test_a_port_in_use_is_one_line(flights_store: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        options = ("--model", "flights", "--models-dir", str(flights_store), "--port", port)
        result = run_trivet("serve", *options, cwd=tmp_path)
    assert result.returncode == 1
    why = "Address already in use"
    assert f"on 127.0.0.1:{port} ({why}); choose another --port or --host" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("workers", ["2", "auto"])
def test_several_workers_answer_and_stop_with_0(
    flights_store: Path, tmp_path: Path, workers: str
) -> None:
    options = ("--model", "flights", "--models-dir", str(flights_store), "--workers", workers)
    with serving(*options, cwd=tmp_path) as server:
        wait_until(lambda: all(server.post("/predict", FLIGHT)[0] == 200 for _ in range(20)))
    assert server.process.returncode == 0


def test_a_version_can_be_served(flights: Artifact, flights_store: Path) -> None:
    settings = ServeSettings("flights", flights.manifest.version, flights_store)
    with ready_client(settings) as client:
        assert client.get("/model").json()["version"] == flights.manifest.version


def test_the_documentation_of_a_record_allows_the_row_labels_of_pandas(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Record"]
    (pattern,) = schema["patternProperties"]
    for name in ("", "Unnamed: 0", "__index_level_0__"):
        assert re.search(pattern, name)
        assert client.post("/predict", json={**ASKED, name: 7}).status_code == 200
    for name in ("Unnamed: 1", "index", " "):
        assert not re.search(pattern, name)
        assert client.post("/predict", json={**ASKED, name: 7}).status_code == 422


def test_vertex_ai_chooses_port_and_routes(
    flights_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = "/v1/endpoints/7/deployedModels/9"
    monkeypatch.setenv("AIP_HEALTH_ROUTE", route)
    monkeypatch.setenv("AIP_PREDICT_ROUTE", f"{route}:predict")
    options = ("--model", "flights", "--models-dir", str(flights_store))
    with serving(*options, cwd=tmp_path, port_from="AIP_HTTP_PORT") as server:
        assert server.get(route) == server.get("/health/ready")
        assert server.get(route)[0] == 200
        expected = server.post("/predict", {"instances": [ASKED]})
        assert expected[0] == 200
        for parameters in (None, {}, {"top": 3}, 7):
            content = {"instances": [ASKED], "parameters": parameters}
            assert server.post(f"{route}:predict", content) == expected
        assert f"{route}:predict".encode() in server.get("/openapi.json")[1]


@pytest.mark.parametrize(
    "route", ["", "predict", "/models/{model}", "http://here/predict", "/a?b", "/a#b"]
)
def test_a_route_that_is_no_path_is_refused(route: str) -> None:
    with pytest.raises(SettingsError, match="--predict-route"):
        ServeSettings(predict_route=route)
    with pytest.raises(SettingsError, match="--health-route"):
        ServeSettings(health_route=route)


def test_a_route_of_something_else_is_refused(client: TestClient) -> None:
    own = {"health_route": {"/health", "/health/live", "/health/ready", "/ping"}}
    own["predict_route"] = {"/predict", "/invocations"}
    for route in client.app._app.routes:  # type: ignore[attr-defined]
        path = route.path.format(model="flights", version="1")
        for option, paths in own.items():
            if path in paths:
                ServeSettings(**{option: path})
            else:
                with pytest.raises(SettingsError, match=f"{path}: this path is taken"):
                    ServeSettings(**{option: path})


def test_predictions_and_health_may_have_one_path() -> None:
    ServeSettings(predict_route="/models/it", health_route="/models/it")


GETS = ("/", "/model", "/health", "/health/live", "/metrics", "/docs", "/openapi.json")
ASSET = "/docs/assets/swagger-ui.css"


@pytest.mark.parametrize("path", [*GETS, ASSET])
def test_head_is_answered_as_get_without_a_body(client: TestClient, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    if path != "/metrics":  # which count the requests for them
        assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_methods_that_a_path_does_not_take_are_405_with_those_that_it_does(
    client: TestClient, method: str
) -> None:
    for path in (*GETS, ASSET):
        response = client.request(method, path)
        problem(response, 405)
        assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/openapi.json", "/metrics"])
def test_long_pages_are_compressed_where_that_is_asked_for(client: TestClient, path: str) -> None:
    for accepted in ("identity", "gzip"):
        response = client.get(path, headers={"accept-encoding": accepted})
        assert response.headers.get("content-encoding", "identity") == accepted
        assert response.headers["vary"] == "accept-encoding"
        assert len(response.text) > 8_192
