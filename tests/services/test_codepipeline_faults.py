"""Requests that are none, faults that tests set, and the ways of the server in `codepipeline/`."""

import http.client
import json
import threading
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path

import boto3
from botocore.exceptions import ClientError, HTTPClientError

from driving import (
    IDENTITY,
    LIMIT,
    REGION,
    SERVER,
    UNKNOWN,
    Case,
    Process,
    artifact,
    make_client,
    prop,
    set_up,
    tear_down,
)

setUpModule, tearDownModule = set_up, tear_down


class Requests(Case):
    """What is no request of the service's."""

    def test_bodies(self):
        for body in [b"{", b"[]", b"\xff", b'{"jobId": NaN}', b'{"jobId": "\\ud800"}', b"[" * 20_000]:
            self.assertEqual(self.raw("GetJobDetails", body)[0], "SerializationException")
        for value in [{"jobId": 1}, {"jobId": UNKNOWN, "other": 1}, {"jobId": [UNKNOWN]}]:
            self.assertEqual(self.raw("GetJobDetails", value)[0], "SerializationException")
        asked = {"actionTypeId": IDENTITY, "maxBatchSize": True}
        self.assertEqual(self.raw("PollForJobs", asked)[0], "SerializationException")
        created = {"revision": "r", "changeIdentifier": "c", "created": 1e300}
        asked = {"jobId": UNKNOWN, "currentRevision": created}
        self.assertEqual(self.raw("PutJobSuccessResult", asked)[0], "SerializationException")
        for value in [{}, {"jobId": None}]:
            code, message = self.raw("GetJobDetails", value)
            self.assertEqual((code, "jobId" in message and "null" in message), ("ValidationException", True))
        code, message = self.raw("AcknowledgeJob", {})
        self.assertTrue(message.startswith("2 validation errors detected: "), message)

    def test_a_body_that_is_too_large(self):
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "CodePipeline_20150709.GetJobDetails"}
        connection = http.client.HTTPConnection(SERVER.host, timeout=LIMIT)
        self.addCleanup(connection.close)
        connection.putrequest("POST", "/")
        for name, value in (headers | {"Content-Length": str(1 << 30)}).items():
            connection.putheader(name, value)
        connection.endheaders()
        self.assertEqual(connection.getresponse().status, 413)

    def test_operations(self):
        for name in ("Nothing", "StartPipelineExecution", ""):
            self.assertEqual(self.raw(name, {})[0], "UnknownOperationException")
        self.assertEqual(json.loads(SERVER.http("GET", "/")[2])["__type"], "UnknownOperationException")

    def test_signatures(self):
        def spoilt(**changes):
            return self.raw("GetJobDetails", {"jobId": UNKNOWN}, spoil=lambda headers: changed(headers, changes))[0]

        self.assertEqual(self.raw("GetJobDetails", {"jobId": UNKNOWN})[0], "JobNotFoundException")
        self.assertEqual(spoilt(Authorization=None), "MissingAuthenticationTokenException")
        self.assertEqual(spoilt(Authorization="Bearer x"), "IncompleteSignatureException")
        self.assertEqual(spoilt(**{"X-Amz-Date": None}), "IncompleteSignatureException")
        self.assertEqual(spoilt(**{"X-Amz-Security-Token": "x"}), "UnrecognizedClientException")
        self.assertEqual(spoilt(**{"X-Amz-Unsigned": "x"}), "InvalidSignatureException")
        self.assertEqual(spoilt(**{"X-Amz-Target": "CodePipeline_20150709.PollForJobs"}), "InvalidSignatureException")
        impostor = make_client(SERVER.address, "wrong")
        self.addCleanup(impostor.close)
        self.refused("InvalidSignatureException", impostor.list_action_types)
        for hours in (-1, 1):
            at = datetime.now(timezone.utc) + timedelta(hours=hours)
            code, message = self.raw("GetJobDetails", {"jobId": UNKNOWN}, at=at)
            self.assertEqual(code, "InvalidSignatureException")
            self.assertIn("Signature expired" if hours < 0 else "not yet current", message)

    def test_keys_of_a_test_with_a_session(self):
        SERVER.control("POST", "/keys", {"id": "ASIAOTHER", "secret": "s", "token": "t"})
        keys = {"aws_access_key_id": "ASIAOTHER", "aws_secret_access_key": "s", "region_name": REGION}
        for token, good in (("t", True), ("u", False), (None, False)):
            client = boto3.client("codepipeline", endpoint_url=SERVER.address, aws_session_token=token, **keys)
            if good:
                client.list_action_types()
            else:
                self.refused("UnrecognizedClientException", client.list_action_types)


def changed(headers, changes):
    """Replaces headers, or removes them."""
    for name, value in changes.items():
        headers.pop(name, None)
        if value is not None:
            headers[name] = value


class Faults(Case):
    """What tests make go wrong."""

    def test_errors_without_the_effect(self):
        identity = self.job()
        for code, status in (
            ("ServiceUnavailableException", 503),
            ("InternalFailure", 500),
            ("ThrottlingException", 400),
        ):
            self.fault("error", operation="PollForJobs", code=code)
            with self.assertRaises(ClientError) as caught:
                self.poll()
            answer = caught.exception.response
            self.assertEqual((answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]), (code, status))
        self.assertEqual(self.told(identity)["status"], "Queued")
        self.assertEqual(len(self.poll()), 1)

    def test_an_error_after_the_effect(self):
        self.job()
        (job,) = self.poll()
        self.fault("error", operation="AcknowledgeJob", code="InternalFailure", when="after")
        self.refused("InternalFailure", self.acknowledge, job)
        self.assertEqual(self.told(job["id"])["status"], "InProgress")
        self.assertEqual(self.calls(job["id"])[-1], ("AcknowledgeJob", "InternalFailure", True))

    def test_an_error_that_is_not_the_services(self):
        for form in ("html", "empty"):
            self.fault("error", operation="*", form=form, status=502)
            with self.assertRaises(ClientError) as caught:
                self.client.list_action_types()
            self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], 502)
        self.client.list_action_types()

    def test_a_lost_acknowledgement(self):
        for reset in (False, True):
            self.job()
            (job,) = self.poll()
            self.fault("close", operation="AcknowledgeJob", when="after", reset=reset)
            with self.assertRaises(HTTPClientError):
                self.acknowledge(job)
            self.assertEqual(self.told(job["id"])["status"], "InProgress")
            self.assertEqual(self.calls(job["id"])[-1], ("AcknowledgeJob", "no answer", True))
            self.assertEqual(self.acknowledge(job), "InProgress")

    def test_a_lost_result(self):
        job = self.running()
        self.fault("close", operation="PutJobSuccessResult", when="after")
        with self.assertRaises(HTTPClientError):
            self.client.put_job_success_result(jobId=job["id"])
        self.refused("InvalidJobStateException", self.client.put_job_success_result, jobId=job["id"])
        self.assertEqual(len(self.told(job["id"])["answers"]), 1)

    def test_a_request_that_never_arrived(self):
        job = self.running()
        for reset in (False, True):
            self.fault("close", operation="PutJobSuccessResult", reset=reset)
            with self.assertRaises(HTTPClientError):
                self.client.put_job_success_result(jobId=job["id"])
        self.assertEqual(self.told(job["id"])["status"], "InProgress")
        self.client.put_job_success_result(jobId=job["id"])

    def test_half_an_answer(self):
        identity = self.job()
        self.fault("truncate", operation="PollForJobs")
        with self.assertRaises(http.client.IncompleteRead):
            SERVER.http("POST", "/", *self.signed("PollForJobs", {"actionTypeId": IDENTITY}))
        self.assertEqual(len(self.told(identity)["nonces"]), 1)
        self.assertEqual(len(self.poll()), 1)

    def test_a_stall_until_it_is_released(self):
        identity = self.job()
        for when, status in (("before", "Queued"), ("after", "Dispatched")):
            self.fault("stall", operation="PollForJobs", when=when)
            got = []
            thread = threading.Thread(target=lambda got=got: got.extend(self.poll()))
            thread.start()
            while SERVER.control("GET", "")["stalled"] == 0:
                self.assertTrue(thread.is_alive())
            self.assertEqual(self.told(identity)["status"], status)
            self.assertEqual(SERVER.control("POST", "/release", {}), {"released": 1})
            thread.join(LIMIT)
            self.assertEqual(len(got), 1)

    def test_a_stall_whose_client_goes_has_no_effect(self):
        identity = self.job()
        self.fault("stall", operation="PollForJobs")
        impatient = make_client(SERVER.address, patience=0.2)
        with self.assertRaises(HTTPClientError):
            impatient.poll_for_jobs(actionTypeId=IDENTITY)
        impatient.close()
        while SERVER.control("GET", "")["stalled"]:
            pass
        self.assertEqual(self.told(identity)["status"], "Queued")

    def test_a_job_twice_in_one_answer(self):
        self.job()
        self.fault("duplicate", operation="PollForJobs")
        # It does not fit in here, so it waits.
        self.assertEqual(len(self.poll(maxBatchSize=1)), 1)
        first, second = self.poll(maxBatchSize=2)
        self.assertEqual(first, second)
        self.assertEqual(len(self.poll(maxBatchSize=2)), 1)

    def test_a_job_again_that_somebody_works_on(self):
        self.fault("duplicate", mode="again")
        job = self.running()
        (again,) = self.poll()
        self.assertEqual((again["id"], again["nonce"] == job["nonce"]), (job["id"], False))
        self.refused("InvalidNonceException", self.acknowledge, again)
        self.assertEqual(self.poll(), [])
        self.client.put_job_success_result(jobId=job["id"])

    def test_another_status_than_in_progress(self):
        self.job()
        (job,) = self.poll()
        self.fault("status", status="Queued")
        self.assertEqual(self.acknowledge(job), "Queued")
        self.assertEqual(self.told(job["id"])["status"], "Dispatched")
        self.assertEqual(self.acknowledge(job), "InProgress")

    def test_credentials_that_are_expired_from_the_start(self):
        self.job()
        self.fault("expired-credentials", operation="*", times=2)
        (job,) = self.poll()
        details = [self.client.get_job_details(jobId=job["id"])["jobDetails"] for _ in range(2)]
        keys = [one["data"]["artifactCredentials"]["accessKeyId"] for one in (job, *details)]
        states = [SERVER.control("GET", f"/credentials/{key}")["state"] for key in keys]
        self.assertEqual(states, ["expired", "expired", "good"])

    def test_the_servers_clock_is_off(self):
        for skew in (-3600, 3600):
            SERVER.control("POST", "/settings", {"skew": skew})
            with self.assertRaises(ClientError) as caught:
                self.client.list_action_types()
            answer = caught.exception.response
            self.assertEqual(answer["Error"]["Code"], "InvalidSignatureException")
            there = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            off = (there - datetime.now(timezone.utc)).total_seconds()
            self.assertGreater(off / skew, 0.9)
            # Who signs as of the server's time is heard.
            code, _ = self.raw("GetJobDetails", {"jobId": UNKNOWN}, at=there)
            self.assertEqual(code, "JobNotFoundException")

    def test_which_calls_meet_a_fault(self):
        def outcomes(count):
            got = []
            for _ in range(count):
                try:
                    self.client.list_action_types()
                    got.append("-")
                except ClientError:
                    got.append("x")
            return "".join(got)

        self.fault("error", operation="ListActionTypes", skip=1, times=2)
        self.fault("error", operation="PollForJobs")
        self.assertEqual(outcomes(5), "-xx--")
        self.assertEqual([fault["met"] for fault in SERVER.control("GET", "/faults")], [2, 0])
        SERVER.control("DELETE", "/faults")
        runs = []
        for seed in (1, 1, 2):
            self.fault("error", operation="*", times=None, rate=0.3, seed=seed)
            runs.append(outcomes(40))
            SERVER.control("DELETE", "/faults")
        self.assertEqual(runs[0], runs[1])
        self.assertNotEqual(runs[0], runs[2])
        self.assertTrue(4 <= runs[0].count("x") <= 20, runs[0])
        self.assertEqual(outcomes(3), "---")

    def test_faults_that_there_are_not(self):
        for wrong in [
            {"kind": "rain"},
            {"kind": "error", "operation": "Nothing"},
            {"kind": "error", "operation": "AcknowledgeJob", "code": "InvalidJobStateException"},
            {"kind": "error", "when": "later"},
            {"kind": "close", "code": "x"},
            {"kind": "duplicate", "operation": "AcknowledgeJob"},
            {"kind": "status", "status": "Fine"},
        ]:
            SERVER.control("POST", "/faults", wrong, status=400)
        self.fault("error", operation="AcknowledgeJob", code="InvalidNonceException")


class TheServer(Case):
    """Its own ways."""

    def test_what_was_asked_is_kept_in_order(self):
        job = self.running()
        self.raw("PutJobFailureResult", {"jobId": job["id"], "failureDetails": {"type": "JobFailed", "message": ""}})
        self.client.get_job_details(jobId=job["id"])
        self.client.put_job_success_result(jobId=job["id"])
        expected = [
            ("PollForJobs", "OK", True),
            ("AcknowledgeJob", "OK", True),
            ("PutJobFailureResult", "ValidationException", False),
            ("GetJobDetails", "OK", True),
            ("PutJobSuccessResult", "OK", True),
        ]
        self.assertEqual(self.calls(job["id"]), expected)
        calls = self.told(job["id"])["calls"]
        self.assertEqual([call["nonce"] for call in calls[:2]], [job["nonce"]] * 2)
        self.assertEqual([call["sequence"] for call in calls], sorted(call["sequence"] for call in calls))
        self.assertEqual([call["time"] for call in calls], sorted(call["time"] for call in calls))
        everything = [(call["operation"], call["outcome"], call["effect"]) for call in SERVER.control("GET", "/calls")]
        self.assertEqual([call for call in everything if call[0] != "ListActionTypes"], expected)

    def test_jobs_that_no_pipeline_could_have(self):
        self.registered(
            configurationProperties=[prop("Project")], inputArtifactDetails={"minimumCount": 1, "maximumCount": 1}
        )
        good = {"actionTypeId": IDENTITY, "configuration": {"Project": "p"}, "inputArtifacts": [artifact("A")]}
        for wrong in [
            {"configuration": {}},
            {"configuration": {"Project": ""}},
            {"configuration": {"Project": "p" * 1001}},
            {"configuration": {"Project": "p", "Other": "x"}},
            {"inputArtifacts": []},
            {"inputArtifacts": [artifact("A b")]},
            {"status": "InProgress"},
            {"artifactCredentials": {"accessKeyId": "a"}},
            {"encryptionKey": {"id": "k", "type": "PGP"}},
            {"accountId": "1"},
            {"pipelineContext": {"nothing": "x"}},
            {"nothing": 1},
            {"actionTypeId": IDENTITY | {"version": "9"}},
        ]:
            with self.subTest(wrong):
                SERVER.control("POST", "/jobs", good | wrong, status=400)
        SERVER.control("POST", "/jobs", good)

    def test_a_path_that_there_is_not(self):
        for method, path in (("GET", "/nothing"), ("POST", "/jobs/x/y"), ("DELETE", "")):
            SERVER.control(method, path, status=404)
        SERVER.control("POST", "/settings", {"nothing": 1}, status=400)
        SERVER.control("POST", "/clock", {"back": 1}, status=400)

    def test_many_workers_and_a_thousand_jobs(self):
        # At each poll anew, as it is otherwise, most of the work would be nonces that are taken from one another.
        SERVER.control("POST", "/settings", {"redeliverAfter": 600})
        jobs = {self.job() for _ in range(1_000)}
        done, lock = [], threading.Lock()

        def work():
            while found := self.poll(maxBatchSize=10):
                for job in found:
                    try:
                        if self.acknowledge(job) == "InProgress":
                            self.client.put_job_success_result(jobId=job["id"], outputVariables={"A": "1"})
                            with lock:
                                done.append(job["id"])
                    except self.client.exceptions.InvalidNonceException:
                        pass

        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(5 * LIMIT)
        self.assertEqual((len(done), set(done)), (1_000, jobs))
        self.assertEqual(SERVER.control("GET", "")["jobs"], {"Succeeded": 1_000})
        memory = Path(f"/proc/{SERVER.child.pid}/status").read_text().split("VmRSS:")[1].split()[0]
        self.assertLess(int(memory), 300_000, "KiB")

    def test_it_ends_with_its_standard_input_though_calls_stall(self):
        server = Process().start()
        connection = http.client.HTTPConnection(server.host, timeout=LIMIT)
        self.addCleanup(connection.close)
        server.control("POST", "/faults", {"kind": "stall"})
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "CodePipeline_20150709.GetJobDetails"}
        connection.request("POST", "/", b"{}", headers)
        while server.control("GET", "")["stalled"] == 0:
            pass
        self.assertEqual(server.end(), (0, ""))

    def test_an_answer_that_does_not_fit_ends_it(self):
        wrong = ["{'status': 'Fine'}", "{'state': 'InProgress'}", "{'status': 1}", "None"]
        for answer in wrong:
            script = "from codepipeline import __main__ as it, service\n"
            script += f"service.OPERATIONS['AcknowledgeJob'] = lambda *_: {answer}\nit.main()"
            server = Process().start("-c", script)
            client = make_client(server.address)
            with self.assertRaises(HTTPClientError):
                client.acknowledge_job(jobId=UNKNOWN, nonce="1")
            client.close()
            code, complaint = server.end()
            self.assertEqual(code, 70)
            self.assertIn("AcknowledgeJobOutput", complaint)
