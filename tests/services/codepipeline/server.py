"""HTTP: reads a request, lets it meet its fault, answers, and keeps what was asked and answered."""

import json
import os
import select
import socket
import struct
import sys
import threading
import time
import traceback
import uuid
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from . import signature, wire
from .control import Control
from .service import Service, operation
from .wire import ServiceError

OWN = {"Content-Type": wire.CONTENT_TYPE}
LARGEST_BODY = 1 << 20
# Seconds until a connection that says nothing is closed.
IDLE = 300
# Seconds between looks at whether a client that waits is still there.
LOOK = 0.05


class Stalls:
    """Calls that are not answered yet, on purpose."""

    def __init__(self):
        self.lock, self.count, self.released = threading.Lock(), 0, 0

    def release(self):
        """Ends all. Answers how many there were."""
        with self.lock:
            self.released += 1
            return self.count

    def wait(self, connection, seconds):
        """Until they are released, the client is gone or the time is over. False if it is gone."""
        end = time.monotonic() + seconds
        with self.lock:
            self.count += 1
            released = self.released
        try:
            while self.released == released and time.monotonic() < end:
                if select.select([connection], [], [], LOOK)[0]:
                    return bool(connection.recv(1, socket.MSG_PEEK))
            return True
        except OSError:
            return False
        finally:
            with self.lock:
                self.count -= 1


class Gone(Exception):
    """There will be no answer."""


class Foreign(Exception):
    """An answer that is not the service's: that of what stands before it."""

    def __init__(self, form, status):
        super().__init__(form)
        self.status = status or 503
        self.body = b"<html><body><h1>Service Unavailable</h1></body></html>" if form == "html" else b""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE
    # An answer is one packet: its head does not wait for the other side's acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_):
        """Nothing: bodies are not to be seen anywhere."""

    def answer(self):
        """Any request."""
        try:
            body = self.body()
            if self.path.split("/")[1] == "_control":
                self.control(body)
            else:
                self.call(body)
        except (Gone, OSError):
            self.close_connection = True
        except Exception:
            crash()

    do_GET = do_POST = do_DELETE = do_PUT = answer

    def body(self):
        """What was sent. Nothing here sends in chunks."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > LARGEST_BODY or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            return None
        return self.rfile.read(length)

    def control(self, body):
        """A test asks."""
        try:
            value = json.loads(body or b"{}")
        except ValueError as error:
            return self.send(400, {"Content-Type": "application/json"}, json.dumps({"error": str(error)}).encode())
        status, answer = self.server.control.answer(self.command, self.path, value)
        return self.send(status, {"Content-Type": "application/json"}, json.dumps(answer, default=str).encode())

    def call(self, body):
        """A client asks."""
        service, name, fault = self.server.service, "", None
        self.request_read = None
        call = {"outcome": "OK", "effect": False, "fault": None, "key": None}
        try:
            name = wire.route(self.path, self.headers)
            model = operation(name)
            fault = service.faults.take(name)
            self.meet(fault, "before", call)
            answer = self.run(service, model, body, fault, call)
            self.meet(fault, "after", call)
            if fault and fault.kind == "truncate":
                call.update(fault="truncate", outcome="no answer")
            self.send(200, OWN, answer, cut=call["fault"] == "truncate")
        except ServiceError as error:
            call["outcome"] = error.code
            self.keep(service, name, call)
            self.send(error.status, OWN, wire.write_error(error.code, error.message))
        except Foreign as error:
            call["outcome"] = "no answer of the service"
            self.keep(service, name, call)
            self.send(error.status, {"Content-Type": "text/html"}, error.body)
        except Gone:
            call["outcome"] = "no answer"
            self.keep(service, name, call)
            raise

    def run(self, service, model, body, fault, call):
        """The effect of a call, and the bytes that say it."""
        if body is None:
            raise ServiceError("RequestEntityTooLarge", f"more than {LARGEST_BODY} bytes")
        with service.lock:
            keys, now = dict(service.keys), service.wall()
        call["key"] = signature.check(keys, now, self.command, self.path, self.headers, body)
        self.request_read = wire.read_request(body)
        wire.judge_request(self.request_read, model.input_shape)
        with service.lock:
            output = service.run(model.name, self.request_read, fault)
            answer = wire.write_response(model, output)
            call["effect"] = True
            self.keep(service, model.name, call, output)
        if fault and not fault.applied:
            service.faults.put_back(fault)
        elif fault and "when" not in fault.setting:
            call["fault"] = fault.kind
        return answer

    def keep(self, service, name, call, output=None):
        """Records a call, once. How its answer fares may still change in it."""
        with service.lock:
            if "sequence" not in call:
                service.record(name, self.request_read, call, output)

    def meet(self, fault, when, call):
        """What a fault does at this point."""
        if fault is None or fault.setting.get("when") != when:
            return
        call["fault"] = fault.kind
        if fault.kind == "close":
            self.close(fault.reset)
        elif fault.kind == "stall":
            if not self.server.stalls.wait(self.connection, fault.seconds):
                raise Gone
        elif fault.form == "own":
            raise ServiceError(fault.code, fault.message, fault.setting["status"])
        else:
            raise Foreign(fault.form, fault.setting["status"])

    def close(self, reset):
        """Ends the connection without an answer."""
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone

    def send(self, status, headers, body, cut=False):
        """The answer, or half of it."""
        self.send_response_only(status)
        self.send_header("Date", formatdate(self.server.service.wall(), usegmt=True))
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.wfile.flush()
        if cut:
            raise Gone


class Server(ThreadingHTTPServer):
    """The whole of it."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.service, self.stalls = Service(), Stalls()
        self.control = Control(self.service, self.stalls)

    def shutdown_request(self, request):
        """Closes a connection; one that is to be reset without the farewell that would come first."""
        linger = request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.calcsize("ii"))
        if struct.unpack("ii", linger)[0]:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request, client_address):
        """A client that went away is no defect; anything else is."""
        if not isinstance(sys.exc_info()[1], OSError):
            crash()

    @property
    def address(self):
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"


def crash():
    """A defect of this server is not to pass for an answer of the service's."""
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(70)
