"""The inside of uvicorn that connections are built on, which no document promises."""

from __future__ import annotations

from inspect import isfunction

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

#: What `trivet.online.wire` uses of uvicorn's classes.
USED = {
    HttpToolsProtocol: {
        *("app", "app_state", "client", "cycle", "expect_100_continue", "flow", "headers", "loop"),
        *("access_logger", "logger", "parser", "pipeline", "scope", "server_state", "transport"),
        *("connection_lost", "connection_made", "data_received", "on_body", "on_header"),
        *("on_headers_complete", "on_message_begin", "on_message_complete"),
        *("on_response_complete", "shutdown", "_start_asgi_task", "url"),
    },
    RequestResponseCycle: {
        *("access_log", "access_logger", "app", "body", "default_headers", "disconnected"),
        *("expect_100_continue", "flow", "keep_alive", "logger", "message_event", "more_body"),
        *("on_response", "response_complete", "run_asgi", "scope", "transport"),
    },
    FlowControl: {"pause_reading", "resume_reading", "write_paused"},
}


def require_known() -> None:
    """Raise `ImportError` if a class has not all the methods, attributes and arguments in use."""
    for each, names in USED.items():
        codes = [made.__code__ for made in vars(each).values() if isfunction(made)]
        known = {name for code in codes for name in (*code.co_names, *code.co_varnames)}
        if missing := names - known - vars(each).keys():
            raise ImportError(f"its {each.__name__} has no {min(missing)}")
