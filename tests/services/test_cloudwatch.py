"""The server in `cloudwatch/`: boto3 drives it, and its models judge the answers."""

import json
import time
import unittest

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from driving import KEY, LIMIT, REGION, SECRET, Process

SERVER = Process()
NOW = int(time.time() * 1000)
DAY = 24 * 60 * 60 * 1000


def client(service):
    """A client that says what it has to say once."""
    config = Config(retries={"total_max_attempts": 1}, read_timeout=LIMIT, connect_timeout=LIMIT)
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": REGION}
    return boto3.client(service, endpoint_url=SERVER.address, config=config, **keys)


def setUpModule():
    SERVER.start("-m", "cloudwatch")


def tearDownModule():
    code, complaint = SERVER.end()
    assert (code, complaint) == (0, ""), complaint


def event(at=NOW, text="x"):
    return {"timestamp": at, "message": text}


class Case(unittest.TestCase):
    """An empty server."""

    def setUp(self):
        SERVER.control("POST", "/reset", {})

    def refused(self, code, call, **members):
        with self.assertRaises(ClientError) as caught:
            call(**members)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)


class Logs(Case):
    """CreateLogGroup, CreateLogStream, PutLogEvents."""

    @classmethod
    def setUpClass(cls):
        cls.client = client("logs")
        cls.addClassCleanup(cls.client.close)

    def stream(self):
        self.client.create_log_group(logGroupName="g")
        self.client.create_log_stream(logGroupName="g", logStreamName="s")

    def put(self, *events):
        return self.client.put_log_events(logGroupName="g", logStreamName="s", logEvents=list(events))

    def test_a_stream_is_made_in_a_group_and_keeps_what_is_put(self):
        self.refused("ResourceNotFoundException", self.client.create_log_stream, logGroupName="g", logStreamName="s")
        self.stream()
        self.refused("ResourceAlreadyExistsException", self.client.create_log_group, logGroupName="g")
        self.refused(
            "ResourceAlreadyExistsException", self.client.create_log_stream, logGroupName="g", logStreamName="s"
        )
        self.assertNotIn("rejectedLogEventsInfo", self.put(event(), event(text="y\n")))
        told = SERVER.control("GET", "/streams")["g"]["s"]
        self.assertEqual((told["events"], told["bytes"], told["batches"]), (2, 3, [2]))
        self.assertEqual(told["messages"], [[NOW, "x"], [NOW, "y\n"]])
        self.refused(
            "ResourceNotFoundException",
            self.client.put_log_events,
            logGroupName="g",
            logStreamName="t",
            logEvents=[event()],
        )

    def test_limits_of_a_batch(self):
        self.stream()
        half = "x" * (262_144 - 26)
        self.put(*[event(text=half)] * 4)
        self.put(*[event()] * 10_000)
        self.put(event(NOW - DAY), event(NOW))
        for wrong in [
            [event(text=half + "x")],
            [*[event(text=half)] * 4, event()],
            [event(NOW), event(NOW - 1)],
            [event(NOW - DAY - 1), event(NOW)],
            [event()] * 10_001,
        ]:
            with self.assertRaises(ClientError) as caught:
                self.put(*wrong)
            code = caught.exception.response["Error"]["Code"]
            self.assertIn(code, ("InvalidParameterException", "ValidationException"))
        self.assertEqual(SERVER.control("GET", "/streams")["g"]["s"]["events"], 10_006)

    def test_what_is_too_old_or_too_new_is_rejected(self):
        self.stream()
        info = self.put(event(NOW - 15 * DAY), event(NOW - 15 * DAY + 1))["rejectedLogEventsInfo"]
        self.assertEqual(info, {"tooOldLogEventEndIndex": 2})
        info = self.put(event(NOW), event(NOW + DAY // 2))["rejectedLogEventsInfo"]
        self.assertEqual(info, {"tooNewLogEventStartIndex": 1})
        self.assertEqual(SERVER.control("GET", "/streams")["g"]["s"]["events"], 1)

    def test_faults(self):
        self.stream()
        for fault in [
            {"kind": "error", "code": "ThrottlingException"},
            {"kind": "error", "code": "InternalFailure", "status": 500},
            {"kind": "close"},
            {"kind": "close", "when": "after", "reset": True},
        ]:
            SERVER.control("POST", "/faults", fault | {"operation": "PutLogEvents"})
            with self.assertRaises((ClientError, HTTPClientError)):
                self.put(event())
        self.assertEqual(SERVER.control("GET", "/streams")["g"]["s"]["events"], 1)
        self.put(event())
        calls = SERVER.control("GET", "/calls")
        self.assertEqual((calls["PutLogEvents OK"], calls["PutLogEvents no answer"]), (1, 2))


class Events(Case):
    """PutEvents."""

    @classmethod
    def setUpClass(cls):
        cls.client = client("events")
        cls.addClassCleanup(cls.client.close)

    def put(self, *entries):
        whole = {"Source": "ours", "DetailType": "t", "Detail": '{"a": 1}'}
        return self.client.put_events(Entries=[whole | entry for entry in entries])

    def test_entries_are_taken_each_by_itself(self):
        answer = self.put({}, {"Source": "aws.codebuild"}, {"Detail": "{"}, {"Detail": "[]"}, {"Detail": ""})
        codes = [entry.get("ErrorCode") for entry in answer["Entries"]]
        self.assertEqual(
            codes, [None, "NotAuthorizedForSourceException", "MalformedDetail", "MalformedDetail", "InvalidArgument"]
        )
        self.assertEqual(answer["FailedEntryCount"], 4)
        (taken,) = SERVER.control("GET", "/changes")
        self.assertEqual(taken["Detail"], {"a": 1})

    def test_limits_of_a_request(self):
        self.assertEqual(len(self.put(*[{}] * 10)["Entries"]), 10)
        with self.assertRaises(ClientError):
            self.put(*[{}] * 11)
        long = json.dumps({"a": "x" * (262_144 - 13)})
        with self.assertRaises(ClientError):
            self.put({"Detail": long})

    def test_an_entry_fails(self):
        fault = {"operation": "PutEvents", "kind": "entries", "code": "ThrottlingException", "times": 1}
        SERVER.control("POST", "/faults", fault)
        answer = self.put({}, {})
        self.assertEqual([entry.get("ErrorCode") for entry in answer["Entries"]], ["ThrottlingException", None])
