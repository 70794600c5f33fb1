"""HTTP, faults, and what only tests ask, as JSON below `/_control`:

GET    /_control/streams   all streams by group and name: events, bytes, sha256, messages with their times, batches
GET    /_control/changes   entries that a bus took, their detail as JSON
GET    /_control/calls     counts by operation and outcome
POST   /_control/reset     as at the start
POST   /_control/faults    sets one: {"operation", "kind", "times" (1), "share" (1)} and, by kind,
                           error    "code", "status", "message"
                           close    "when" ("before" or "after" its effect), "reset" (false)
                           entries  "code": each entry of `PutEvents` by itself
DELETE /_control/faults    no more faults
POST   /_control/settings  {"judge": false}: takes what comes without a look at its shape, which is faster
"""

import json
import os
import random
import socket
import struct
import sys
import threading
import traceback
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.session
from codepipeline import wire
from codepipeline.wire import ServiceError

from .events import Events
from .logs import Logs

SESSION = botocore.session.get_session()
MODELS = {
    model.metadata["targetPrefix"]: model for model in (SESSION.get_service_model(name) for name in ("logs", "events"))
}
LARGEST_BODY = 1 << 24
FAULT = {"operation": None, "kind": None, "times": 1, "share": 1, "code": None, "status": 400, "message": "by fault"}
FAULT |= {"when": "before", "reset": False}


class Gone(Exception):
    """There will be no answer."""


class State:
    """All state. Whoever uses it holds `lock`."""

    def __init__(self):
        self.lock = threading.RLock()
        self.reset()

    def reset(self):
        """As at the start."""
        self.logs, self.events = Logs(), Events()
        self.faults, self.calls = [], Counter()
        self.settings = {"judge": True}
        self.random = random.Random(7)

    def take(self, operation, *kinds):
        """The fault that a call meets."""
        for fault in self.faults:
            if fault["operation"] == operation and fault["kind"] in kinds and fault["times"]:
                if self.random.random() < fault["share"]:
                    fault["times"] -= 1
                    return fault
        return None

    def run(self, operation, request):
        """What an operation answers."""
        name = {
            "CreateLogGroup": self.logs.create_log_group,
            "CreateLogStream": self.logs.create_log_stream,
            "PutLogEvents": self.logs.put_log_events,
        }
        if operation == "PutEvents":
            return self.events.put_events(request, lambda: (self.take(operation, "entries") or {}).get("code"))
        if operation not in name:
            raise ServiceError("UnknownOperationException", operation)
        return name[operation](request)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = 300
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_):
        """Nothing."""

    def answer(self):
        """Any request."""
        try:
            body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), LARGEST_BODY))
            if self.path.startswith("/_control"):
                self.control(body)
            else:
                self.call(body)
        except (Gone, OSError):
            self.close_connection = True
        except Exception:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(70)

    do_GET = do_POST = do_DELETE = answer

    def call(self, body):
        """A client asks."""
        state = self.server.state
        prefix, _, operation = self.headers.get("X-Amz-Target", "").partition(".")
        with state.lock:
            fault = state.take(operation, "error", "close")
        try:
            if prefix not in MODELS or not self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 "):
                raise ServiceError("UnrecognizedClientException", "neither signed nor for a service that is here")
            model = MODELS[prefix].operation_model(operation)
            self.meet(fault, "before")
            request = wire.read_request(body)
            if state.settings["judge"]:
                wire.judge_request(request, model.input_shape)
            with state.lock:
                answer = wire.write_response(model, state.run(operation, request))
            self.meet(fault, "after")
            self.count(operation, "OK")
            self.send(200, answer)
        except ServiceError as error:
            self.count(operation, error.code)
            self.send(error.status, wire.write_error(error.code, error.message))
        except Gone:
            self.count(operation, "no answer")
            raise

    def count(self, operation, outcome):
        """Keeps what became of a call."""
        with self.server.state.lock:
            self.server.state.calls[f"{operation} {outcome}"] += 1

    def meet(self, fault, when):
        """What a fault does at this point."""
        if fault is None or fault["when"] != when:
            return
        if fault["kind"] == "error":
            raise ServiceError(fault["code"], fault["message"], fault["status"])
        if fault["reset"]:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone

    def control(self, body):
        """A test asks."""
        state, value = self.server.state, json.loads(body or b"{}")
        with state.lock:
            asked = f"{self.command} {self.path.removeprefix('/_control')}"
            answer = None
            if asked == "GET /streams":
                answer = {
                    group: {name: stream.told() for name, stream in streams.items()}
                    for group, streams in state.logs.groups.items()
                }
            elif asked == "GET /changes":
                answer = state.events.taken
            elif asked == "GET /calls":
                answer = state.calls
            elif asked == "POST /reset":
                state.reset()
            elif asked == "POST /faults" and set(value) <= set(FAULT):
                state.faults.append(FAULT | value)
            elif asked == "DELETE /faults":
                state.faults.clear()
            elif asked == "POST /settings" and set(value) <= set(state.settings):
                state.settings |= value
            else:
                return self.send(400, json.dumps({"error": asked}).encode())
        return self.send(200, json.dumps(answer, default=str).encode())

    def send(self, status, body):
        """The answer."""
        self.send_response_only(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    """The whole of it."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.state = State()

    def shutdown_request(self, request):
        """Closes a connection; one that is to be reset without the farewell that would come first."""
        linger = request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.calcsize("ii"))
        if struct.unpack("ii", linger)[0]:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    @property
    def address(self):
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"
