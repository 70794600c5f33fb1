"""Action types: what `CreateCustomActionType` checks, and what is kept."""

import re

from .wire import ServiceError

CATEGORIES = ("Source", "Build", "Deploy", "Test", "Invoke")
CUSTOM_ACTIONS = 50
TAGS = 50
PROPERTIES = 10
# CodePipeline adds it to every custom action type: jobs can be restricted with it.
JOB_LIST = {"name": "JobList", "required": False, "key": False, "secret": False, "queryable": False}
# One of AWS's own, so that who lists action types sees more than its own.
CODEBUILD = {
    "id": {"category": "Build", "owner": "AWS", "provider": "CodeBuild", "version": "1"},
    "actionConfigurationProperties": [{"name": "ProjectName", "required": True, "key": True, "secret": False}],
    "inputArtifactDetails": {"minimumCount": 1, "maximumCount": 5},
    "outputArtifactDetails": {"minimumCount": 0, "maximumCount": 5},
}


def key_of(identity):
    """An action type's id as the key of a table."""
    return tuple(identity[part] for part in ("category", "owner", "provider", "version"))


def named(identity):
    """An action type's id in the service's words."""
    parts = "', ".join(
        f"{part.capitalize()}: '{identity[part]}" for part in ("category", "owner", "provider", "version")
    )
    return f"ActionType ({parts}')"


def invalid(message):
    """A refusal."""
    return ServiceError("ValidationException", message)


def create(request):
    """The action type that a request of `CreateCustomActionType` describes."""
    identity = {"owner": "Custom", **{part: request[part] for part in ("category", "provider", "version")}}
    if request["category"] not in CATEGORIES:
        raise invalid(f"{request['category']} is no category of custom actions")
    properties = request.get("configurationProperties", [])
    check_properties(properties)
    for side in ("inputArtifactDetails", "outputArtifactDetails"):
        if request[side]["minimumCount"] > request[side]["maximumCount"]:
            raise invalid(f"{side}: minimumCount is greater than maximumCount")
    settings = request.get("settings", {})
    check_templates(settings, properties)
    check_tags(request.get("tags", []))
    if len(properties) < PROPERTIES:
        properties = [*properties, dict(JOB_LIST)]
    made = {"id": identity, "actionConfigurationProperties": properties}
    if settings:
        made["settings"] = settings
    return made | {side: request[side] for side in ("inputArtifactDetails", "outputArtifactDetails")}


def check_properties(properties):
    """Names are unique; at most one property can be asked for, and that is required and no secret."""
    names = [one["name"] for one in properties]
    if len(set(names)) < len(names):
        raise invalid("two configuration properties have one name")
    queryable = [one for one in properties if one.get("queryable")]
    if len(queryable) > 1:
        raise invalid("at most one configuration property can be queryable")
    for one in queryable:
        if one["secret"] or not one["required"]:
            raise invalid(f"{one['name']} is queryable, so it has to be required and not secret")


def check_templates(settings, properties):
    """A template names properties that are required and no secret."""
    usable = {one["name"] for one in properties if one["required"] and not one["secret"]}
    for member, template in settings.items():
        for name in re.findall(r"\{([^}]*)\}", template):
            if name == "ExternalExecutionId" or name.removeprefix("Config:") in usable and name.startswith("Config:"):
                continue
            raise invalid(
                f"{member}: {{{name}}} is neither ExternalExecutionId nor a property that is required and not secret"
            )


def check_tags(tags):
    """There are not too many, and none is AWS's."""
    if len(tags) > TAGS:
        raise ServiceError("TooManyTagsException", f"at most {TAGS} tags")
    keys = [tag["key"] for tag in tags]
    if len(set(keys)) < len(keys) or any(key.lower().startswith("aws:") for key in keys):
        raise ServiceError("InvalidTagsException", "a tag is there twice, or begins with aws:")


def queryable(action_type):
    """The name of the property that jobs can be asked for by."""
    names = [one["name"] for one in action_type["actionConfigurationProperties"] if one.get("queryable")]
    return names[0] if names else None


def secrets(action_type):
    """Names of secret properties."""
    return {one["name"] for one in action_type["actionConfigurationProperties"] if one["secret"]}


def check_query(action_type, query):
    """`queryParam` names the queryable property if there is one, and is empty otherwise."""
    wanted = queryable(action_type)
    if wanted and wanted not in query:
        raise invalid(f"queryParam has to have {wanted}")
    for name in query:
        if name != wanted:
            raise invalid(f"{name} is not queryable")
