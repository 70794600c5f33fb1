"""What only tests ask: JSON below `/_control`.

GET    /_control                            clock, counts of calls and of jobs by status, how many calls are stalled
POST   /_control/reset                      as at the start
POST   /_control/action-types               a type as CreateCustomActionType takes it
GET    /_control/action-types               all types, AWS's included
DELETE /_control/action-types               deletes all custom ones, as DeleteCustomActionType does
POST   /_control/jobs                       adds a job (see `JOB`), answers its id
GET    /_control/jobs                       all jobs in short
GET    /_control/jobs/ID                    one in full: nonces, calls in order, answers that were accepted, credentials
POST   /_control/jobs/ID/queue              a job that was added as Created is Queued
POST   /_control/jobs/ID/stop               the pipeline was stopped: nobody tells the worker
POST   /_control/jobs/ID/time-out           its time is over
POST   /_control/jobs/ID/expire-credentials what was issued until now is good no more
GET    /_control/credentials/KEY            job, value and state ("good", "expired") of credentials that were issued
GET    /_control/calls                      all calls in order
POST   /_control/faults                     sets one (see `faults.KINDS`)
GET    /_control/faults                     those that were set, with how often each was met
DELETE /_control/faults                     no more faults
POST   /_control/release                    ends all stalls
POST   /_control/clock                      {"advance": SECONDS} of the clock that jobs live by
POST   /_control/settings                   see `service.SETTINGS`
POST   /_control/keys                       {"id", "secret", "token"}: another key that requests may be signed with
"""

import uuid

from .actions import invalid
from .faults import BadFault
from .jobs import Job
from .service import SETTINGS
from .signature import SERVICE
from .wire import MODEL, ServiceError, judge_request

# A job, with what is so if a test says nothing of it. Artifacts are the service's shape `Artifact`.
JOB = {
    "actionTypeId": None,
    "configuration": {},
    "inputArtifacts": [],
    "outputArtifacts": [],
    # Names: pipelineName, stage, action; ids: pipelineExecutionId, actionExecutionId.
    "pipelineContext": {},
    # "issued": new ones at each poll and GetJobDetails; a value: always these; null: none.
    "artifactCredentials": "issued",
    # Seconds that issued ones are good for.
    "credentialLifetime": 900,
    "encryptionKey": None,
    "continuationToken": None,
    "accountId": "123456789012",
    "region": "us-east-1",
    # Seconds until the action's patience ends.
    "timeout": 24 * 60 * 60,
    # Or Created: nobody gets it until it is queued.
    "status": "Queued",
}


class Control:
    """Answers of the control paths."""

    def __init__(self, service, stalls):
        self.service, self.stalls = service, stalls

    def answer(self, method, path, body):
        """Status and JSON."""
        parts = [part for part in path.removeprefix("/_control").split("/") if part]
        name = "_".join([method.lower(), *(part.replace("-", "_") for part in (parts[:1] + parts[2:]))])
        found = getattr(self, name + ("_one" if len(parts) == 2 else ""), None)
        if found is None:
            return 404, {"error": f"{method} {path} is nothing that can be asked"}
        arguments = parts[1:2] + ([body] if method == "POST" and len(parts) < 2 else [])
        try:
            with self.service.lock:
                self.service.end_late_jobs()
                return 200, found(*arguments)
        except (BadFault, ServiceError, KeyError, TypeError) as error:
            return 400, {"error": f"{type(error).__name__}: {error}"}

    def get(self):
        service = self.service
        statuses = [job.status for job in service.jobs.values()]
        return {
            "now": service.now(),
            "settings": service.settings,
            "calls": dict(service.counts),
            "jobs": {status: statuses.count(status) for status in set(statuses)},
            "stalled": self.stalls.count,
        }

    def post_reset(self, _body):
        self.stalls.release()
        self.service.reset()

    def post_action_types(self, body):
        judge_request(body, MODEL.operation_model("CreateCustomActionType").input_shape)
        return self.service.create_custom_action_type(body, None)

    def get_action_types(self):
        return list(self.service.types.values())

    def delete_action_types(self):
        for key in [key for key in self.service.types if key[1] == "Custom"]:
            del self.service.types[key]

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def post_jobs(self, body):
        job = make_job(self.service, body)
        self.service.add(job)
        return {"id": job.id}

    def get_jobs(self):
        return [job.summary() for job in self.service.jobs.values()]

    def get_jobs_one(self, identity):
        return self.service.job(identity).told()

    def post_jobs_queue(self, identity):
        job = self.service.job(identity)
        if job.status != "Created":
            raise invalid(f"{identity} is {job.status}")
        job.status = "Queued"

    def post_jobs_stop(self, identity):
        job = self.service.job(identity)
        if job.open:
            job.stopped = True
            job.end("Failed", self.service.now())

    def post_jobs_time_out(self, identity):
        self.service.job(identity).deadline = self.service.now()
        self.service.end_late_jobs()

    def post_jobs_expire_credentials(self, identity):
        self.service.job(identity).expire_credentials(self.service.now())

    def get_credentials_one(self, key):
        for job in self.service.jobs.values():
            for one in job.issued:
                if one["credentials"]["accessKeyId"] == key:
                    state = "good" if self.service.now() < one["expires"] else "expired"
                    return {"jobId": job.id, "state": state} | one
        raise invalid(f"{key} was not issued")

    # ── calls and faults ─────────────────────────────────────────────────────────────────────────────────────────────

    def get_calls(self):
        return list(self.service.calls)

    def post_faults(self, body):
        self.service.faults.add(body)

    def get_faults(self):
        return self.service.faults.told()

    def delete_faults(self):
        self.service.faults.clear()

    def post_release(self, _body):
        return {"released": self.stalls.release()}

    # ── clock, settings, keys ────────────────────────────────────────────────────────────────────────────────────────

    def post_clock(self, body):
        if set(body) != {"advance"}:
            raise invalid("only advance, in seconds")
        self.service.advanced += body["advance"]
        self.service.end_late_jobs()
        return {"now": self.service.now()}

    def post_settings(self, body):
        unknown = set(body) - set(SETTINGS)
        if unknown:
            raise invalid(f"no setting {', '.join(sorted(unknown))}")
        self.service.settings |= body

    def post_keys(self, body):
        self.service.keys[body["id"]] = {"secret": body["secret"], "token": body.get("token")}


def make_job(service, asked):
    """A job as a test wants it, if a pipeline could have it."""
    unknown = set(asked) - set(JOB)
    if unknown:
        raise invalid(f"a job has no {', '.join(sorted(unknown))}")
    asked = JOB | asked
    action_type = service.action_type(asked["actionTypeId"])
    check_configuration(action_type, asked["configuration"])
    for side in ("input", "output"):
        counts, given = action_type[f"{side}ArtifactDetails"], len(asked[f"{side}Artifacts"])
        if not counts["minimumCount"] <= given <= counts["maximumCount"]:
            raise invalid(f"{given} {side} artifacts, not {counts['minimumCount']} to {counts['maximumCount']}")
    if asked["status"] not in ("Created", "Queued"):
        raise invalid("a new job is Created or Queued")
    now = service.now()
    job = Job(asked["accountId"], action_type, job_data(asked), now, now + asked["timeout"], status=asked["status"])
    job.credentials, job.lifetime = asked["artifactCredentials"], asked["credentialLifetime"]
    judge_request(
        {"jobDetails": {"data": sample(job), "accountId": job.account}}, MODEL.shape_for("GetJobDetailsOutput")
    )
    return job


def sample(job):
    """The data as it will be handed out, without anything issued for it."""
    fixed = {} if job.credentials in ("issued", None) else {"artifactCredentials": job.credentials}
    return job.data | fixed


def check_configuration(action_type, configuration):
    """A pipeline could not be saved otherwise."""
    properties = action_type["actionConfigurationProperties"]
    for one in properties:
        if one["required"] and one["name"] not in configuration:
            raise invalid(f"the configuration has no {one['name']}")
    unknown = set(configuration) - {one["name"] for one in properties}
    if unknown:
        raise invalid(f"the action type has no {', '.join(sorted(unknown))}")


def job_data(asked):
    """`JobData` without credentials."""
    data = {
        "actionTypeId": asked["actionTypeId"],
        "actionConfiguration": {"configuration": asked["configuration"]},
        "pipelineContext": pipeline_context(asked),
        "inputArtifacts": asked["inputArtifacts"],
        "outputArtifacts": asked["outputArtifacts"],
    }
    return data | {name: asked[name] for name in ("encryptionKey", "continuationToken") if asked[name] is not None}


def pipeline_context(asked):
    """`PipelineContext` with names and ids for what the test does not care about."""
    given = {
        "pipelineName": "pipeline",
        "stage": "Build",
        "action": "Build",
        "pipelineExecutionId": str(uuid.uuid4()),
        "actionExecutionId": str(uuid.uuid4()),
    } | asked["pipelineContext"]
    if len(given) != 5:
        raise invalid("pipelineContext has pipelineName, stage, action, pipelineExecutionId and actionExecutionId")
    return {
        "pipelineName": given["pipelineName"],
        "stage": {"name": given["stage"]},
        "action": {"name": given["action"], "actionExecutionId": given["actionExecutionId"]},
        "pipelineArn": f"arn:aws:{SERVICE}:{asked['region']}:{asked['accountId']}:{given['pipelineName']}",
        "pipelineExecutionId": given["pipelineExecutionId"],
    }
