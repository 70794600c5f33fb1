"""Each operation of the server in `codepipeline/`, and each exception of theirs."""

from datetime import datetime, timezone

from driving import IDENTITY, SERVER, UNKNOWN, Case, action_type, artifact, prop, set_up, tear_down

setUpModule, tearDownModule = set_up, tear_down


class ActionTypes(Case):
    """CreateCustomActionType, ListActionTypes, DeleteCustomActionType."""

    def test_one_is_created_listed_and_deleted(self):
        settings = {"executionUrlTemplate": "https://ci.example/{Config:Project}/{ExternalExecutionId}"}
        asked = action_type(settings=settings, configurationProperties=[prop("Project", queryable=True)])
        made = self.client.create_custom_action_type(**asked, tags=[{"key": "team", "value": "a"}])
        self.assertEqual(made["tags"], [{"key": "team", "value": "a"}])
        self.assertEqual((made["actionType"]["id"], made["actionType"]["settings"]), (IDENTITY, settings))
        names = [one["name"] for one in made["actionType"]["actionConfigurationProperties"]]
        self.assertEqual(names, ["Project", "JobList"])
        self.assertEqual(self.listed("Custom"), [IDENTITY])
        self.assertEqual([one["owner"] for one in self.listed()], ["AWS", "Custom"])
        self.client.delete_custom_action_type(category="Build", provider="Runner", version="1")
        self.assertEqual(self.listed("Custom"), [])
        self.refused("ActionTypeNotFoundException", self.client.poll_for_jobs, actionTypeId=IDENTITY)
        self.refused("ValidationException", self.client.create_custom_action_type, **asked)
        self.refused(
            "ValidationException",
            self.client.delete_custom_action_type,
            category="Build",
            provider="Runner",
            version="1",
        )

    def listed(self, owner=None):
        wanted = {"actionOwnerFilter": owner} if owner else {}
        return [one["id"] for one in self.client.list_action_types(**wanted)["actionTypes"]]

    def test_pages_of_a_list(self):
        for version in range(3):
            self.registered(version=str(version))
        SERVER.control("POST", "/settings", {"pageSize": 2})
        pages = self.client.get_paginator("list_action_types").paginate(actionOwnerFilter="Custom")
        self.assertEqual([len(page["actionTypes"]) for page in pages], [2, 1])
        for token in ("x", "from-9"):
            self.refused("InvalidNextTokenException", self.client.list_action_types, nextToken=token)

    def test_what_is_refused(self):
        url = "https://ci.example/{Config:P}"
        for case in [
            {"category": "Approval"},
            {"provider": "a b"},
            {"provider": "p" * 36},
            {"version": "1234567890"},
            {"configurationProperties": [prop(str(n)) for n in range(11)]},
            {"configurationProperties": [prop("P"), prop("P")]},
            {"configurationProperties": [prop("P", queryable=True), prop("Q", queryable=True)]},
            {"configurationProperties": [prop("P", queryable=True, secret=True)]},
            {"configurationProperties": [prop("P", queryable=True, required=False)]},
            {"configurationProperties": [prop("P", description="d" * 161)]},
            {"configurationProperties": [prop("P", type="Text")]},
            {"configurationProperties": [prop("P", secret=True)], "settings": {"entityUrlTemplate": url}},
            {"configurationProperties": [prop("P", required=False)], "settings": {"entityUrlTemplate": url}},
            {"settings": {"entityUrlTemplate": "https://ci.example/{Elsewhere}"}},
            {"settings": {"entityUrlTemplate": "u" * 2049}},
            {"inputArtifactDetails": {"minimumCount": 2, "maximumCount": 1}},
            {"inputArtifactDetails": {"minimumCount": 0, "maximumCount": 6}},
        ]:
            with self.subTest(case):
                self.refused("ValidationException", self.client.create_custom_action_type, **action_type(**case))
        tags = [{"key": str(n), "value": ""} for n in range(51)]
        self.refused("TooManyTagsException", self.client.create_custom_action_type, **action_type(tags=tags))
        tags = [{"key": "aws:a", "value": ""}]
        self.refused("InvalidTagsException", self.client.create_custom_action_type, **action_type(tags=tags))
        self.assertEqual(self.listed("Custom"), [])
        for version in range(50):
            self.registered(version=str(version))
        self.refused("LimitExceededException", self.client.create_custom_action_type, **action_type(version="x"))


class Polls(Case):
    """PollForJobs."""

    def test_a_job_with_everything(self):
        self.registered(configurationProperties=[prop("Project"), prop("Token", secret=True)])
        key = {"id": "arn:aws:kms:us-east-1:123456789012:key/1", "type": "KMS"}
        inputs = [artifact("Source") | {"revision": "046e8b67"}]
        context = {"pipelineName": "web", "stage": "Build", "action": "Compile"}
        identity = self.job(
            configuration={"Project": "web", "Token": "in-clear"},
            inputArtifacts=inputs,
            outputArtifacts=[artifact("Out")],
            encryptionKey=key,
            continuationToken="run-42",
            pipelineContext=context,
        )
        (job,) = self.poll()
        data = job["data"]
        self.assertEqual((job["id"], job["accountId"]), (identity, "123456789012"))
        self.assertEqual(data["actionTypeId"], IDENTITY)
        self.assertEqual(data["actionConfiguration"]["configuration"], {"Project": "web", "Token": "in-clear"})
        self.assertEqual((data["inputArtifacts"], data["outputArtifacts"]), (inputs, [artifact("Out")]))
        self.assertEqual((data["encryptionKey"], data["continuationToken"]), (key, "run-42"))
        self.assertEqual(data["pipelineContext"]["action"]["name"], "Compile")
        self.assertEqual(data["pipelineContext"]["pipelineArn"], "arn:aws:codepipeline:us-east-1:123456789012:web")
        self.assertTrue(data["artifactCredentials"]["accessKeyId"].startswith("ASIA"))

    def test_a_job_with_nothing(self):
        self.job(artifactCredentials=None)
        (job,) = self.poll()
        for absent in ("artifactCredentials", "encryptionKey", "continuationToken"):
            self.assertNotIn(absent, job["data"])

    def test_oldest_first_and_no_more_than_asked_for(self):
        jobs = [self.job() for _ in range(4)]
        self.assertEqual([job["id"] for job in self.poll(maxBatchSize=3)], jobs[:3])
        self.assertEqual([job["id"] for job in self.poll(maxBatchSize=9)], jobs)
        self.assertEqual([job["id"] for job in self.poll()], jobs[:1])
        self.assertIn("maxBatchSize", self.raw("PollForJobs", {"actionTypeId": IDENTITY, "maxBatchSize": 0})[1])

    def test_a_job_comes_again_until_it_is_acknowledged(self):
        self.job()
        (first,), (second,) = self.poll(), self.poll()
        self.assertEqual(first["id"], second["id"])
        self.assertNotEqual(first["nonce"], second["nonce"])
        self.refused("InvalidNonceException", self.acknowledge, first)
        self.assertEqual(self.acknowledge(second), "InProgress")
        self.assertEqual(self.poll(), [])
        self.assertEqual(self.told(first["id"])["nonces"], [first["nonce"], second["nonce"]])

    def test_a_job_comes_again_only_after_a_while_if_so_set(self):
        SERVER.control("POST", "/settings", {"redeliverAfter": 30})
        self.job()
        self.assertEqual((len(self.poll()), len(self.poll())), (1, 0))
        SERVER.control("POST", "/clock", {"advance": 30})
        self.assertEqual(len(self.poll()), 1)

    def test_query_parameters(self):
        self.registered(configurationProperties=[prop("Project", queryable=True), prop("Other", required=False)])
        jobs = {name: self.job(configuration={"Project": name}) for name in ("web", "api")}
        (job,) = self.poll(queryParam={"Project": "api"}, maxBatchSize=9)
        self.assertEqual(job["id"], jobs["api"])
        self.assertEqual(self.poll(queryParam={"Project": "none"}), [])
        for wrong in [{}, {"Other": "x"}, {"Project": "a b"}, {"Project": "p" * 51}, {"Project": "a", "Other": "x"}]:
            with self.subTest(wrong):
                self.refused("ValidationException", self.poll, queryParam=wrong)
        self.refused("ValidationException", self.poll)

    def test_a_type_without_a_queryable_property_takes_no_query(self):
        self.job()
        self.assertEqual(len(self.poll(queryParam={})), 1)
        self.refused("ValidationException", self.poll, queryParam={"Project": "web"})

    def test_other_owners_and_unknown_types(self):
        self.job()
        for owner in ("AWS", "ThirdParty"):
            message = self.refused(
                "ValidationException", self.client.poll_for_jobs, actionTypeId=IDENTITY | {"owner": owner}
            )
            self.assertEqual(message, f"ActionType with owner '{owner}' is not supported")
        for other in ({"version": "2"}, {"category": "Test"}, {"provider": "Other"}):
            message = self.refused(
                "ActionTypeNotFoundException", self.client.poll_for_jobs, actionTypeId=IDENTITY | other
            )
            self.assertIn("is not available", message)

    def test_a_created_job_waits_until_it_is_queued(self):
        identity = self.job(status="Created")
        self.assertEqual(self.poll(), [])
        SERVER.control("POST", f"/jobs/{identity}/queue")
        self.assertEqual(self.told(identity)["status"], "Queued")
        self.assertEqual(len(self.poll()), 1)
        self.assertEqual(self.told(identity)["status"], "Dispatched")


class Acknowledgements(Case):
    """AcknowledgeJob."""

    def test_again_with_the_same_nonce(self):
        job = self.running()
        self.assertEqual(self.acknowledge(job), "InProgress")
        SERVER.control("POST", "/settings", {"repeatedAcknowledge": "InvalidNonceException"})
        self.refused("InvalidNonceException", self.acknowledge, job)

    def test_of_a_job_that_is_over(self):
        job = self.running()
        self.client.put_job_success_result(jobId=job["id"])
        self.assertEqual(self.acknowledge(job), "Succeeded")
        self.refused("InvalidNonceException", self.acknowledge, job | {"nonce": "0"})

    def test_with_nothing_that_is_good(self):
        identity = self.job()
        self.refused("InvalidNonceException", self.acknowledge, {"id": identity, "nonce": "never-handed-out"})
        self.refused("JobNotFoundException", self.acknowledge, {"id": UNKNOWN, "nonce": "1"})
        self.refused("ValidationException", self.acknowledge, {"id": "no-uuid", "nonce": "1"})
        self.refused("ValidationException", self.acknowledge, {"id": UNKNOWN.upper().replace("0", "A"), "nonce": "1"})
        message = self.refused("ValidationException", self.acknowledge, {"id": identity, "nonce": "n" * 51})
        self.assertIn("less than or equal to 50", message)


class Details(Case):
    """GetJobDetails, and the credentials it gives."""

    def test_new_credentials_each_time(self):
        job = self.running(credentialLifetime=900)
        details = self.client.get_job_details(jobId=job["id"])["jobDetails"]
        self.assertEqual((details["id"], details["accountId"]), (job["id"], "123456789012"))
        first, second = job["data"].pop("artifactCredentials"), details["data"].pop("artifactCredentials")
        self.assertEqual(details["data"], job["data"])
        self.assertNotEqual(first, second)
        SERVER.control("POST", "/clock", {"advance": 899})
        self.assertEqual(self.state(first), "good")
        SERVER.control("POST", "/clock", {"advance": 1})
        self.assertEqual(self.state(first), "expired")
        third = self.client.get_job_details(jobId=job["id"])["jobDetails"]["data"]["artifactCredentials"]
        self.assertEqual(self.state(third), "good")
        SERVER.control("POST", f"/jobs/{job['id']}/expire-credentials")
        self.assertEqual(self.state(third), "expired")

    def state(self, credentials):
        told = SERVER.control("GET", f"/credentials/{credentials['accessKeyId']}")
        self.assertEqual(told["credentials"], credentials)
        return told["state"]

    def test_credentials_that_a_test_gives(self):
        mine = {"accessKeyId": "a", "secretAccessKey": "b", "sessionToken": "c"}
        job = self.running(artifactCredentials=mine)
        self.assertEqual(job["data"]["artifactCredentials"], mine)

    def test_of_no_job(self):
        self.refused("JobNotFoundException", self.client.get_job_details, jobId=UNKNOWN)
        self.refused("ValidationException", self.client.get_job_details, jobId="x")


class Results(Case):
    """PutJobSuccessResult, PutJobFailureResult."""

    def succeed(self, job, **members):
        self.client.put_job_success_result(jobId=job["id"], **members)

    def fail(self, job, kind="JobFailed", message="no", **members):
        self.client.put_job_failure_result(
            jobId=job["id"], failureDetails={"type": kind, "message": message, **members}
        )

    def test_success(self):
        job = self.running()
        details = {"summary": "142 tests passed", "externalExecutionId": "run-42", "percentComplete": 100}
        revision = {
            "revision": "9f8e7d",
            "changeIdentifier": "9f8e7d",
            "created": datetime.now(timezone.utc),
            "revisionSummary": "x",
        }
        self.succeed(
            job, executionDetails=details, currentRevision=revision, outputVariables={"TAG": "1", "A@b-c_d": ""}
        )
        told = self.told(job["id"])
        self.assertEqual((told["status"], len(told["answers"])), ("Succeeded", 1))
        self.assertEqual(told["answers"][0]["request"]["outputVariables"], {"TAG": "1", "A@b-c_d": ""})
        self.assertEqual(told["answers"][0]["request"]["executionDetails"], details)

    def test_failure(self):
        for kind in (
            "JobFailed",
            "ConfigurationError",
            "PermissionError",
            "RevisionOutOfSync",
            "RevisionUnavailable",
            "SystemUnavailable",
        ):
            job = self.running()
            self.fail(job, kind, externalExecutionId="run-42")
            told = self.told(job["id"])
            self.assertEqual(
                (told["status"], told["answers"][0]["request"]["failureDetails"]["type"]), ("Failed", kind)
            )
        self.refused("ValidationException", self.fail, self.running(), "Cancelled")

    def test_only_one_answer_counts(self):
        job = self.running()
        self.fail(job)
        for again in (self.succeed, self.fail):
            self.assertIn("Failed", self.refused("InvalidJobStateException", again, job))
        self.assertEqual(len(self.told(job["id"])["answers"]), 1)

    def test_only_an_acknowledged_job_can_be_answered(self):
        identity = self.job()
        for status in ("Queued", "Dispatched"):
            for answer in (self.succeed, self.fail):
                self.assertIn(status, self.refused("InvalidJobStateException", answer, {"id": identity}))
            self.poll()
        for answer in (self.succeed, self.fail):
            self.refused("JobNotFoundException", answer, {"id": UNKNOWN})

    def test_limits(self):
        job = self.running()
        for members in [
            {"executionDetails": {"summary": "s" * 2049}},
            {"executionDetails": {"summary": ""}},
            {"executionDetails": {"externalExecutionId": "e" * 1501}},
            {"executionDetails": {"percentComplete": 101}},
            {"executionDetails": {"percentComplete": -1}},
            {"continuationToken": "t" * 2049},
            {"continuationToken": ""},
            {"outputVariables": {"a.b": "1"}},
            {"outputVariables": {"": "1"}},
            {"continuationToken": "t", "outputVariables": {"A": "1"}},
            {"currentRevision": {"revision": "r" * 1501, "changeIdentifier": "c"}},
            {"currentRevision": {"revision": "r", "changeIdentifier": "c" * 101}},
            {"currentRevision": {"revision": "r", "changeIdentifier": "c", "revisionSummary": "s" * 2049}},
            {"currentRevision": {"revision": "r"}},
        ]:
            with self.subTest(members):
                code, _ = self.raw("PutJobSuccessResult", {"jobId": job["id"], **members})
                self.assertEqual(code, "ValidationException")
        for details in [{"message": ""}, {"message": "m" * 5001}, {"externalExecutionId": "e" * 1501}]:
            with self.subTest(details):
                asked = {"jobId": job["id"], "failureDetails": {"type": "JobFailed", "message": "m"} | details}
                self.assertEqual(self.raw("PutJobFailureResult", asked)[0], "ValidationException")
        self.assertEqual(self.told(job["id"])["status"], "InProgress")
        self.succeed(job, executionDetails={"summary": "é" * 2048, "externalExecutionId": "e" * 1500})
        self.fail(self.running(), message="é" * 5000)

    def test_size_of_output_variables(self):
        job = self.running()
        variables = {"A": "é" * 61_439, "B": ""}
        message = self.refused(
            "OutputVariablesSizeExceededException", self.succeed, job, outputVariables=variables | {"C": ""}
        )
        self.assertIn("122881", message)
        self.succeed(job, outputVariables=variables)
        self.assertEqual(self.told(job["id"])["answers"][0]["request"]["outputVariables"], variables)

    def test_a_continuation_is_a_new_job(self):
        job = self.running(inputArtifacts=[artifact("Source")], timeout=100)
        SERVER.control("POST", "/clock", {"advance": 60})
        self.succeed(job, continuationToken="step-2", executionDetails={"externalExecutionId": "run-42"})
        (following,) = self.poll(maxBatchSize=9)
        self.assertNotEqual(following["id"], job["id"])
        self.assertEqual(following["data"]["continuationToken"], "step-2")
        for same in ("inputArtifacts", "pipelineContext", "actionConfiguration"):
            self.assertEqual(following["data"][same], job["data"][same])
        self.assertEqual(
            (self.told(job["id"])["status"], self.told(job["id"])["continuedBy"]), ("Succeeded", following["id"])
        )
        self.assertEqual(self.acknowledge(following), "InProgress")
        # The patience is that of the action.
        SERVER.control("POST", "/clock", {"advance": 40})
        self.refused("InvalidJobStateException", self.succeed, following)

    def test_time_is_over(self):
        forgotten, late = self.running(timeout=10), self.running()
        SERVER.control("POST", "/clock", {"advance": 10})
        self.assertEqual(self.told(forgotten["id"])["status"], "TimedOut")
        self.assertIn("TimedOut", self.refused("InvalidJobStateException", self.succeed, forgotten))
        self.assertEqual(self.acknowledge(forgotten), "TimedOut")
        SERVER.control("POST", "/clock", {"advance": 24 * 60 * 60 - 20})
        self.assertEqual(self.told(late["id"])["status"], "InProgress")
        SERVER.control("POST", f"/jobs/{late['id']}/time-out")
        self.refused("InvalidJobStateException", self.fail, late)
        # The clock that jobs live by is not the one that signatures are judged by.
        self.assertEqual(self.poll(), [])

    def test_a_stopped_pipeline_shows_only_at_the_answer(self):
        job = self.running()
        SERVER.control("POST", f"/jobs/{job['id']}/stop")
        self.client.get_job_details(jobId=job["id"])
        self.refused("InvalidJobStateException", self.succeed, job)


class Pipelines(Case):
    """GetPipelineState, ListActionExecutions."""

    def test_state_and_executions(self):
        url = "https://ci.example/{Config:Project}/{ExternalExecutionId}"
        properties = [prop("Project"), prop("Token", secret=True)]
        self.registered(configurationProperties=properties, settings={"executionUrlTemplate": url})
        job = self.running(configuration={"Project": "web", "Token": "hidden"}, outputArtifacts=[artifact("Out")])
        self.assertEqual(self.state()["status"], "InProgress")
        details = {"externalExecutionId": "7", "summary": "fine", "percentComplete": 100}
        self.client.put_job_success_result(jobId=job["id"], executionDetails=details, outputVariables={"A": "1"})
        state = self.state()
        self.assertEqual((state["status"], state["summary"], state["percentComplete"]), ("Succeeded", "fine", 100))
        self.assertEqual(state["externalExecutionUrl"], "https://ci.example/web/7")
        (execution,) = self.client.list_action_executions(pipelineName="pipeline")["actionExecutionDetails"]
        self.assertEqual(execution["input"]["configuration"], {"Project": "web", "Token": "*****"})
        self.assertEqual(execution["output"]["outputVariables"], {"A": "1"})
        self.assertEqual(execution["output"]["outputArtifacts"][0]["s3location"]["key"], "pipeline/Out/x")

    def state(self):
        (stage,) = self.client.get_pipeline_state(name="pipeline")["stageStates"]
        return stage["actionStates"][0]["latestExecution"]

    def test_failed_abandoned_and_timed_out(self):
        failed = self.running()
        details = {"type": "PermissionError", "message": "no access"}
        self.client.put_job_failure_result(jobId=failed["id"], failureDetails=details)
        self.assertEqual(
            (self.state()["status"], self.state()["errorDetails"]),
            ("Failed", {"code": "PermissionError", "message": "no access"}),
        )
        SERVER.control("POST", f"/jobs/{self.running()['id']}/stop")
        self.assertEqual(self.state()["status"], "Abandoned")
        SERVER.control("POST", f"/jobs/{self.running()['id']}/time-out")
        self.assertIn("no job worker answered", self.state()["errorDetails"]["message"])
        SERVER.control("POST", "/settings", {"pageSize": 2})
        pages = self.client.get_paginator("list_action_executions").paginate(pipelineName="pipeline")
        statuses = [one["status"] for page in pages for one in page["actionExecutionDetails"]]
        self.assertEqual(statuses, ["Failed", "Abandoned", "Failed"])

    def test_a_continued_action_is_one_execution(self):
        self.client.put_job_success_result(jobId=self.running()["id"], continuationToken="t")
        self.assertEqual(len(self.client.list_action_executions(pipelineName="pipeline")["actionExecutionDetails"]), 1)
        self.assertEqual(self.state()["status"], "InProgress")

    def test_no_pipeline(self):
        self.refused("PipelineNotFoundException", self.client.get_pipeline_state, name="x")
        self.refused("PipelineNotFoundException", self.client.list_action_executions, pipelineName="x")
