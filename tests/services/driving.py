"""What the tests of the server in `codepipeline/` have in common: boto3 drives it, and its model judges the answers.

`python3 -B -m unittest` in this folder, with the venv of `tests/run`; `tests/codepipeline.rs` does that.
"""

import faulthandler
import http.client
import json
import subprocess
import sys
import unittest
from pathlib import Path

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

KEY, SECRET, REGION = "AKIDEXAMPLE", "not-a-real-secret-key", "us-east-1"
# Longest that anything is waited for, in seconds. It measures nothing.
LIMIT = 60
IDENTITY = {"category": "Build", "owner": "Custom", "provider": "Runner", "version": "1"}
# The id of no job.
UNKNOWN = "00000000-0000-0000-0000-000000000000"
COUNTS = {"minimumCount": 0, "maximumCount": 5}


def prop(name, **members):
    """A configuration property."""
    return {"name": name, "required": True, "key": True, "secret": False, **members}


def action_type(**members):
    """A request of CreateCustomActionType."""
    asked = {"category": "Build", "provider": "Runner", "version": "1"}
    return asked | {"inputArtifactDetails": COUNTS, "outputArtifactDetails": COUNTS} | members


def artifact(name):
    """An artifact with its place."""
    place = {"bucketName": "pipeline-bucket", "objectKey": f"pipeline/{name}/x"}
    return {"name": name, "location": {"type": "S3", "s3Location": place}}


class Process:
    """The server."""

    child = address = host = None

    def start(self, *command):
        """Starts it; another program with it inside if one is given."""
        command = command or ("-m", "codepipeline")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        folder = Path(__file__).parent
        self.child = subprocess.Popen([sys.executable, "-B", *command], cwd=folder, text=True, **pipes)
        self.address = self.child.stdout.readline().strip()
        self.host = self.address.removeprefix("http://")
        return self

    def end(self):
        """Ends it as a test does; its exit code and what it complained of."""
        _, complaint = self.child.communicate(timeout=LIMIT)
        return self.child.returncode, complaint

    def http(self, method, path, body=b"", headers=None):
        """A request of HTTP, on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, timeout=LIMIT)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def control(self, method, path, value=None, status=200):
        """Asks what only tests ask."""
        got, _, body = self.http(method, f"/_control{path}", json.dumps(value).encode() if value is not None else b"")
        answer = json.loads(body)
        assert got == status, answer
        return answer


def make_client(address, secret=SECRET, patience=LIMIT):
    """A client that says what it has to say once, and judges every answer."""
    config = Config(retries={"total_max_attempts": 1}, read_timeout=patience, connect_timeout=LIMIT)
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": secret, "region_name": REGION}
    client = boto3.client("codepipeline", endpoint_url=address, config=config, **keys)
    client.meta.events.register("after-call.codepipeline", judge)
    return client


def judge(parsed, model, http_response, **_):
    """Whether an answer is what the model says."""
    if http_response.status_code == 200 and model.output_shape:
        said = {name: value for name, value in parsed.items() if name != "ResponseMetadata"}
        report = ParamValidator().validate(said, model.output_shape)
        assert not report.has_errors(), report.generate_report()


SERVER = Process()


def set_up():
    """Starts the server for a module of tests, which then ends one way or the other before whoever runs it gives up."""
    faulthandler.dump_traceback_later(110, exit=True)
    SERVER.start()


def tear_down():
    """Ends it: it has had nothing to complain of."""
    code, complaint = SERVER.end()
    faulthandler.cancel_dump_traceback_later()
    assert (code, complaint) == (0, ""), complaint


class SigV4At(SigV4Auth):
    """Signs as of another time."""

    def __init__(self, credentials, service, region, at):
        super().__init__(credentials, service, region)
        self.at = at

    def _modify_request_before_signing(self, request):
        if self.at:
            request.context["timestamp"] = self.at.strftime("%Y%m%dT%H%M%SZ")
        super()._modify_request_before_signing(request)


class Case(unittest.TestCase):
    """A server without anything, and a client."""

    maxDiff = None
    has_type = False

    @classmethod
    def setUpClass(cls):
        cls.client = make_client(SERVER.address)
        cls.addClassCleanup(cls.client.close)

    def setUp(self):
        SERVER.control("POST", "/reset", {})

    def refused(self, code, call, *arguments, **members):
        """The message of an error."""
        with self.assertRaises(ClientError) as caught:
            call(*arguments, **members)
        error = caught.exception.response["Error"]
        self.assertEqual(error["Code"], code, error["Message"])
        return error["Message"]

    def signed(self, operation, value, at=None):
        """Body and headers of a request."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"CodePipeline_20150709.{operation}"}
        request = AWSRequest("POST", f"{SERVER.address}/", headers, body)
        SigV4At(Credentials(KEY, SECRET), "codepipeline", REGION, at).add_auth(request)
        return body, dict(request.headers.items())

    def raw(self, operation, value, at=None, spoil=None):
        """A signed request that boto3 would not make; code and message of the error."""
        body, headers = self.signed(operation, value, at)
        (spoil or (lambda _: None))(headers)
        status, _, said = SERVER.http("POST", "/", body, headers)
        self.assertEqual(status, 400, said)
        error = json.loads(said)
        return error["__type"], error["message"]

    # ── what most tests begin with ───────────────────────────────────────────────────────────────────────────────────

    def registered(self, **members):
        """An action type that is there."""
        self.has_type = True
        SERVER.control("POST", "/action-types", action_type(**members))

    def job(self, **members):
        """A job that waits, of an action type that is there. Its id."""
        if not self.has_type:
            self.registered()
        return SERVER.control("POST", "/jobs", {"actionTypeId": IDENTITY} | members)["id"]

    def poll(self, **members):
        """What a poll gets."""
        return self.client.poll_for_jobs(actionTypeId=IDENTITY, **members)["jobs"]

    def running(self, **members):
        """A job that is acknowledged, as the poll got it."""
        identity = self.job(**members)
        (job,) = self.poll()
        self.assertEqual(job["id"], identity)
        self.assertEqual(self.acknowledge(job), "InProgress")
        return job

    def acknowledge(self, job):
        """The status that is answered."""
        return self.client.acknowledge_job(jobId=job["id"], nonce=job["nonce"])["status"]

    def fault(self, kind, **members):
        """Sets a fault for the next call."""
        SERVER.control("POST", "/faults", {"kind": kind} | members)

    def told(self, identity):
        """All that is known of a job."""
        return SERVER.control("GET", f"/jobs/{identity}")

    def calls(self, identity):
        """Operations, outcomes and whether they had an effect, in order."""
        return [(call["operation"], call["outcome"], call["effect"]) for call in self.told(identity)["calls"]]
