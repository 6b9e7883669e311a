"""A small server that speaks JSON-RPC, for what a client does with answers that a real server seldom gives."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str, Any], Any]  # (method, params) -> result; raising RefusalError answers with an error


class RefusalError(Exception):
    def __init__(self, code: int, message: str, data: Any = None) -> None:
        self.error = {"code": code, "message": message, "data": data}


class StandIn:
    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[tuple[str, Any]] = []  # (path, decoded body)
        self.connections = 0
        self.hang_up: Callable[[int], bool] = lambda number: False  # whether to close before answering request `number`
        self.close_quietly = False  # close each connection after its answer without saying so
        self.lock = threading.Lock()

    def one(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"jsonrpc": "2.0", "result": self.answer(request["method"], request["params"]), "id": request["id"]}
        except RefusalError as refusal:
            return {"jsonrpc": "2.0", "error": refusal.error, "id": request["id"]}


@contextmanager
def stand_in(answer: Answer) -> Iterator[tuple[str, StandIn]]:
    """Gives its URL and the record of what it was asked."""
    record = StandIn(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            with record.lock:
                record.connections += 1

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with record.lock:
                record.requests.append((self.path, body))
                number = len(record.requests)
            if record.hang_up(number):
                self.close_connection = True
                return
            answer = [record.one(entry) for entry in body] if isinstance(body, list) else record.one(body)
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            if record.close_quietly:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", record
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
