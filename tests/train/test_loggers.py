"""Stores of MLflow that do not answer: what is wrong is known at once, without MLflow."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from e3frame.config.loggers.mlflow import _first_line, _require_answer


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("sqlite:////nowhere/mlflow.db", "unable to open database file"),
        ("http://127.0.0.1:9", "<urlopen error [Errno 111] Connection refused>"),
        ("postgresql+pg8000://host/db", "No module named 'pg8000'"),
    ],
)
def test_a_store_that_does_not_answer(uri: str, message: str) -> None:
    began = time.monotonic()
    with pytest.raises(Exception) as caught:  # noqa: PT011
        _require_answer(uri)
    assert _first_line(caught.value) == message
    assert time.monotonic() - began < 10


def test_a_store_that_answers(tmp_path: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.handle_request)
    thread.start()
    _require_answer(f"http://127.0.0.1:{server.server_port}/")
    thread.join(10)
    server.server_close()
    _require_answer(f"sqlite:///{tmp_path}/mlflow.db")
    _require_answer("databricks")
