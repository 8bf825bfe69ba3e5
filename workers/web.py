"""/metrics, /healthz and /readyz of a process that is not a Faust application: one small thread."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Self

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], str | None]
"""Says what is wrong in one sentence, None if nothing is. Called from other threads."""


class WebServer:
    """Serves until closed. Answers 200 "ok", or 503 and the sentence of the check.

    host, port  where to listen; port 0 picks a free one
    healthy     /healthz: whether the process makes progress; a supervisor restarts it when it does not
    ready       /readyz: whether it does its work now (it may be starting, or waiting for a server)

    Raises OSError if the port is taken.

    >>> import urllib.request
    >>> with WebServer("127.0.0.1", 0, lambda: None, lambda: "starting") as web:
    ...     urllib.request.urlopen(f"http://127.0.0.1:{web.port}/healthz").read()
    b'ok\\n'
    """

    def __init__(self, host: str, port: int, healthy: Check, ready: Check) -> None:
        checks = {"/healthz": healthy, "/readyz": ready}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._answer(200, generate_latest(), CONTENT_TYPE_LATEST)
                elif path in checks:
                    problem = checks[path]()
                    self._answer(503 if problem else 200, f"{problem or 'ok'}\n".encode())
                else:
                    self._answer(404, b"/metrics, /healthz or /readyz\n")

            def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name in the base class
                """Probes are not news."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, name="web", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> Self:
        self._thread.start()
        return self

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
