"""What pipelines say of their actions: `GetPipelineState`, `ListActionExecutions`."""

from datetime import datetime, timezone

from . import actions
from .wire import ServiceError


def page(items, size, token):
    """A page of a list, and where the next begins."""
    start = 0
    if token is not None:
        if not token.startswith("from-") or not token[5:].isdigit() or int(token[5:]) >= len(items):
            raise ServiceError("InvalidNextTokenException", "The next token was specified in an invalid format")
        start = int(token[5:])
    end = start + size
    return items[start:end], {"nextToken": f"from-{end}"} if end < len(items) else {}


def moment(seconds):
    """A time as the service gives it, in whole seconds."""
    return datetime.fromtimestamp(int(seconds), timezone.utc)


def by_action(jobs):
    """Jobs of the same run of an action: the first, and those that continue it."""
    runs = {}
    for job in jobs:
        runs.setdefault(job.data["pipelineContext"]["action"]["actionExecutionId"], []).append(job)
    return list(runs.values())


def status(job):
    """The status of the action that ends in this job."""
    if job.stopped:
        return "Abandoned"
    return {"Succeeded": "Succeeded", "Failed": "Failed", "TimedOut": "Failed"}.get(job.status, "InProgress")


def result(jobs):
    """What was answered for a run of an action: the last of each."""
    told = {}
    for job in jobs:
        for answer in job.answers:
            request = answer["request"]
            told |= request.get("executionDetails", {}) | request.get("failureDetails", {})
            told |= {key: request[key] for key in ("outputVariables", "currentRevision") if key in request}
    if jobs[-1].status == "TimedOut":
        told |= {"type": "JobFailed", "message": "The action failed because no job worker answered in time"}
    return told


def url(job, told):
    """The link to an execution."""
    template = job.action_type.get("settings", {}).get("executionUrlTemplate")
    if not template or "externalExecutionId" not in told:
        return None
    for name, value in job.data["actionConfiguration"]["configuration"].items():
        template = template.replace(f"{{Config:{name}}}", value)
    return template.replace("{ExternalExecutionId}", told["externalExecutionId"])


def present(**members):
    """Only members that are there."""
    return {name: value for name, value in members.items() if value is not None}


def errors(told):
    """`ErrorDetails` of a failure."""
    return {"code": told["type"], "message": told["message"]} if "message" in told else None


def pipeline_state(jobs, name):
    """The newest run of each action."""
    stages = {}
    for run in by_action(jobs):
        context = run[-1].data["pipelineContext"]
        stages.setdefault(context["stage"]["name"], {})[context["action"]["name"]] = run
    states = []
    for stage, runs in stages.items():
        states.append({"stageName": stage, "actionStates": [action_state(name, run) for name, run in runs.items()]})
    return {
        "pipelineName": name,
        "pipelineVersion": 1,
        "stageStates": states,
        "created": moment(min(job.created for job in jobs)),
        "updated": moment(max(job.ended or job.created for job in jobs)),
    }


def action_state(name, run):
    """One action."""
    last, told = run[-1], result(run)
    execution = present(
        actionExecutionId=last.data["pipelineContext"]["action"]["actionExecutionId"],
        status=status(last),
        summary=told.get("summary"),
        lastStatusChange=moment(last.ended or last.acknowledged or last.created),
        externalExecutionId=told.get("externalExecutionId"),
        externalExecutionUrl=url(last, told),
        percentComplete=told.get("percentComplete"),
        errorDetails=errors(told),
    )
    return {"actionName": name, "latestExecution": execution}


def executions(jobs):
    """All runs of actions, newest first."""
    return [execution(run) for run in reversed(by_action(jobs))]


def execution(run):
    """One run of an action."""
    last, told = run[-1], result(run)
    context = last.data["pipelineContext"]
    outcome = present(
        externalExecutionId=told.get("externalExecutionId"),
        externalExecutionSummary=told.get("summary"),
        externalExecutionUrl=url(last, told),
        errorDetails=errors(told),
    )
    output = {"outputArtifacts": artifacts(last, "outputArtifacts"), "executionResult": outcome}
    if "outputVariables" in told:
        output["outputVariables"] = told["outputVariables"]
    return {
        "pipelineExecutionId": context["pipelineExecutionId"],
        "actionExecutionId": context["action"]["actionExecutionId"],
        "pipelineVersion": 1,
        "stageName": context["stage"]["name"],
        "actionName": context["action"]["name"],
        "startTime": moment(run[0].created),
        "lastUpdateTime": moment(last.ended or last.acknowledged or last.created),
        "status": status(last),
        "input": {
            "actionTypeId": last.action_type["id"],
            "configuration": without_secrets(last),
            "inputArtifacts": artifacts(last, "inputArtifacts"),
        },
        "output": output,
    }


def without_secrets(job):
    """The configuration as all but workers see it."""
    hidden = actions.secrets(job.action_type)
    configuration = job.data["actionConfiguration"]["configuration"]
    return {name: "*****" if name in hidden else value for name, value in configuration.items()}


def artifacts(job, side):
    """Artifacts in the form of an execution."""
    told = []
    for one in job.data[side]:
        place = one["location"]["s3Location"]
        told.append({"name": one["name"], "s3location": {"bucket": place["bucketName"], "key": place["objectKey"]}})
    return told
