"""All state of the server, and what each operation does with it."""

import threading
import time
from collections import Counter, deque

from . import actions, report
from .actions import invalid
from .faults import Faults
from .jobs import Job
from .signature import KNOWN_KEYS
from .wire import MODEL, ServiceError

JOBS_KEPT = 5_000
CALLS_KEPT = 20_000
# A recorded request is cut to about this size; an accepted answer is kept whole.
REQUEST_KEPT = 4_096
OUTPUT_VARIABLES_SIZE = 122_880
SETTINGS = {
    # Seconds of the service's clock after which a job that nobody acknowledged is handed out again. With 0 every poll
    # gets it.
    "redeliverAfter": 0,
    # What a second AcknowledgeJob with the good nonce answers: "status" for the job's, or the name of an exception.
    "repeatedAcknowledge": "status",
    # Jobs of a poll without maxBatchSize.
    "defaultBatch": 1,
    # Items of a page of the operations that list.
    "pageSize": 50,
    # Seconds that the server's clock is off, in Date and in what it makes of signatures.
    "skew": 0,
}


class Service:
    """The state. Whoever uses it holds `lock`."""

    def __init__(self):
        self.lock = threading.RLock()
        self.faults = Faults()
        self.reset()

    def reset(self):
        """As at the start."""
        self.types = {actions.key_of(actions.CODEBUILD["id"]): actions.CODEBUILD}
        self.versions_used = set()
        self.jobs = {}
        self.advanced = 0
        self.keys = {name: dict(key) for name, key in KNOWN_KEYS.items()}
        self.settings = dict(SETTINGS)
        self.calls = deque(maxlen=CALLS_KEPT)
        self.counts = Counter()
        self.sequence = 0
        self.faults.clear()

    def now(self):
        """The time that jobs live by."""
        return time.time() + self.advanced

    def wall(self):
        """The time that the server believes it is, for `Date` and signatures."""
        return time.time() + self.settings["skew"]

    def run(self, name, request, fault):
        """What an operation answers."""
        self.end_late_jobs()
        return OPERATIONS[name](self, request, fault)

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, job):
        """A new job."""
        if len(self.jobs) >= JOBS_KEPT:
            raise invalid(f"more than {JOBS_KEPT} jobs: reset between tests")
        if job.id in self.jobs:
            raise invalid(f"there is a job {job.id}")
        self.jobs[job.id] = job

    def job(self, identity):
        """A job by its id."""
        if identity not in self.jobs:
            raise ServiceError("JobNotFoundException", f"Job with id '{identity}' could not be found")
        return self.jobs[identity]

    def end_late_jobs(self):
        """What nobody answered in time has timed out."""
        now = self.now()
        for job in self.jobs.values():
            if job.open and now >= job.deadline:
                job.end("TimedOut", now)

    def deliverable(self, identity, query):
        """Jobs that a poll may get, oldest first."""
        now, wait = self.now(), self.settings["redeliverAfter"]
        for job in self.jobs.values():
            again = job.status == "Dispatched" and now >= job.dispatched + wait
            if (job.status == "Queued" or again) and matches(job, identity, query):
                yield job

    # ── operations of workers ────────────────────────────────────────────────────────────────────────────────────────

    def poll_for_jobs(self, request, fault):
        identity, query = request["actionTypeId"], request.get("queryParam", {})
        if identity["owner"] != "Custom":
            raise invalid(f"ActionType with owner '{identity['owner']}' is not supported")
        actions.check_query(self.action_type(identity), query)
        limit = request.get("maxBatchSize", self.settings["defaultBatch"])
        expired = fault is not None and fault.kind == "expired-credentials"
        found = []
        if fault and fault.kind == "duplicate" and fault.mode == "again":
            found += [self.handed_out(job, job.new_nonce()) for job in self.running(identity, query)[:1]]
            fault.applied = bool(found)
        for job in self.deliverable(identity, query):
            if len(found) == limit:
                break
            found.append(self.handed_out(job, job.deliver(self.now()), expired))
        if fault and fault.kind == "duplicate" and fault.mode == "same":
            fault.applied = 0 < len(found) < limit
            found += found[-1:] if fault.applied else []
        return {"jobs": found}

    def running(self, identity, query):
        """Jobs that somebody works on."""
        return [job for job in self.jobs.values() if job.status == "InProgress" and matches(job, identity, query)]

    def handed_out(self, job, nonce, expired=False):
        """A job as a poll gets it."""
        return {"id": job.id, "nonce": nonce, "accountId": job.account, "data": job.job_data(self.now(), expired)}

    def acknowledge_job(self, request, fault):
        job = self.job(request["jobId"])
        # One that was never handed out has no nonce that could be good.
        if job.nonce is None or request["nonce"] != job.nonce:
            raise invalid_nonce(job)
        if fault and fault.kind == "status":
            return {"status": fault.status}
        repeated = self.settings["repeatedAcknowledge"]
        if job.acknowledged is not None and repeated != "status":
            raise invalid_nonce(job)
        if job.status == "Dispatched":
            job.status, job.acknowledged = "InProgress", self.now()
        return {"status": job.status}

    def get_job_details(self, request, fault):
        job = self.job(request["jobId"])
        expired = fault is not None and fault.kind == "expired-credentials"
        return {"jobDetails": {"id": job.id, "accountId": job.account, "data": job.job_data(self.now(), expired)}}

    def put_job_success_result(self, request, _fault):
        job = self.job(request["jobId"])
        token, variables = request.get("continuationToken"), request.get("outputVariables")
        if token is not None and variables is not None:
            raise invalid("outputVariables can only be there without a continuationToken")
        size = sum(len(part.encode()) for pair in (variables or {}).items() for part in pair)
        if size > OUTPUT_VARIABLES_SIZE:
            said = f"The output variables have {size} bytes, more than {OUTPUT_VARIABLES_SIZE}"
            raise ServiceError("OutputVariablesSizeExceededException", said)
        self.answer(job, "Succeeded", request)
        if token is not None:
            self.go_on(job, token)

    def put_job_failure_result(self, request, _fault):
        self.answer(self.job(request["jobId"]), "Failed", request)

    def answer(self, job, status, request):
        """The final answer of a job: only what was acknowledged can be answered, and only once."""
        if job.status != "InProgress":
            said = f"Job '{job.id}' is in state {job.status}, it cannot be answered"
            raise ServiceError("InvalidJobStateException", said)
        job.answers.append({"status": status, "time": self.now(), "request": request})
        job.end(status, self.now())

    def go_on(self, job, token):
        """The action goes on as another job. Its patience is still that of the action."""
        following = Job(
            account=job.account,
            action_type=job.action_type,
            data=job.data | {"continuationToken": token},
            created=self.now(),
            deadline=job.deadline,
            credentials=job.credentials,
            lifetime=job.lifetime,
        )
        job.continued_by = following.id
        self.add(following)

    # ── operations on action types ───────────────────────────────────────────────────────────────────────────────────

    def action_type(self, identity):
        """A type that is there."""
        found = self.types.get(actions.key_of(identity))
        if found is None:
            raise ServiceError("ActionTypeNotFoundException", f"{actions.named(identity)} is not available")
        return found

    def create_custom_action_type(self, request, _fault):
        made = actions.create(request)
        key = actions.key_of(made["id"])
        if key in self.versions_used:
            # Also one that was deleted: a version is used once.
            raise invalid(f"{actions.named(made['id'])} is there already, or was: use another version")
        if sum(owner == "Custom" for _, owner, *_ in self.types) >= actions.CUSTOM_ACTIONS:
            raise ServiceError("LimitExceededException", f"at most {actions.CUSTOM_ACTIONS} custom actions")
        self.versions_used.add(key)
        self.types[key] = made
        tags = {"tags": request["tags"]} if request.get("tags") else {}
        return {"actionType": made} | tags

    def delete_custom_action_type(self, request, _fault):
        identity = {"owner": "Custom", **request}
        if self.types.pop(actions.key_of(identity), None) is None:
            raise invalid(f"{actions.named(identity)} is not available")

    def list_action_types(self, request, _fault):
        owner = request.get("actionOwnerFilter")
        found = [one for one in self.types.values() if owner in (None, one["id"]["owner"])]
        page, following = report.page(found, self.settings["pageSize"], request.get("nextToken"))
        return {"actionTypes": page} | following

    # ── operations on pipelines ──────────────────────────────────────────────────────────────────────────────────────

    def get_pipeline_state(self, request, _fault):
        return report.pipeline_state(self.of_pipeline(request["name"]), request["name"])

    def list_action_executions(self, request, _fault):
        executions = report.executions(self.of_pipeline(request["pipelineName"]))
        wanted = request.get("filter", {})
        wanted = wanted.get("pipelineExecutionId") or wanted.get("latestInPipelineExecution", {}).get(
            "pipelineExecutionId"
        )
        details = [one for one in executions if wanted in (None, one["pipelineExecutionId"])]
        size = min(request.get("maxResults", 100), self.settings["pageSize"])
        page, following = report.page(details, size, request.get("nextToken"))
        return {"actionExecutionDetails": page} | following

    def of_pipeline(self, name):
        """Jobs of a pipeline. One without any is unknown here."""
        found = [job for job in self.jobs.values() if job.data["pipelineContext"]["pipelineName"] == name]
        if not found:
            raise ServiceError("PipelineNotFoundException", f"Account does not have a pipeline with name '{name}'")
        return found

    # ── records ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def record(self, name, request, call, output):
        """Keeps a call, with each job that it is about. `call` may change later: how its answer fared."""
        self.sequence += 1
        self.counts[name] += 1
        request = request if isinstance(request, dict) else {}
        call.update(sequence=self.sequence, time=self.now(), operation=name, request=shortened(request), jobs=None)
        self.calls.append(call)
        if name == "PollForJobs" and output:
            call["jobs"] = [job["id"] for job in output["jobs"]]
            for given in output["jobs"]:
                self.jobs[given["id"]].record(call, given["nonce"])
        job = self.jobs.get(str(request.get("jobId")))
        if job:
            job.record(call, request.get("nonce"))


def matches(job, identity, query):
    """Whether a poll asks for such a job."""
    configuration = job.data["actionConfiguration"]["configuration"]
    same_type = job.action_type["id"] == identity
    return same_type and all(configuration.get(name) == value for name, value in query.items())


def invalid_nonce(job):
    """Somebody else has it, or the nonce is an old one."""
    return ServiceError("InvalidNonceException", f"The nonce for job '{job.id}' is not valid")


def shortened(request):
    """What is kept of a request: messages and output variables may be long."""
    long = {name: f"{len(value)} long" for name, value in request.items() if len(str(value)) > REQUEST_KEPT}
    return request | long


OPERATIONS = {
    "AcknowledgeJob": Service.acknowledge_job,
    "CreateCustomActionType": Service.create_custom_action_type,
    "DeleteCustomActionType": Service.delete_custom_action_type,
    "GetJobDetails": Service.get_job_details,
    "GetPipelineState": Service.get_pipeline_state,
    "ListActionExecutions": Service.list_action_executions,
    "ListActionTypes": Service.list_action_types,
    "PollForJobs": Service.poll_for_jobs,
    "PutJobFailureResult": Service.put_job_failure_result,
    "PutJobSuccessResult": Service.put_job_success_result,
}


def operation(name):
    """The model of an operation that this server has."""
    if name not in OPERATIONS:
        raise ServiceError("UnknownOperationException", f"{name} is no operation that this server has")
    return MODEL.operation_model(name)
