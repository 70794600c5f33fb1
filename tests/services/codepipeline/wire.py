"""Requests and responses between bytes and values, judged by botocore's model of the service."""

import json
import re
from datetime import datetime

import botocore.parsers
import botocore.serialize
import botocore.session
from botocore.validate import ParamValidator

MODEL = botocore.session.get_session().get_service_model("codepipeline")
TARGET = MODEL.metadata["targetPrefix"]
CONTENT_TYPE = f"application/x-amz-json-{MODEL.metadata['jsonVersion']}"

# Errors that any operation may answer, with their status.
COMMON_ERRORS = {
    "AccessDeniedException": 400,
    "ExpiredTokenException": 400,
    "IncompleteSignatureException": 400,
    "InternalFailure": 500,
    "InternalServerError": 500,
    "InvalidSignatureException": 400,
    "MissingAuthenticationTokenException": 400,
    "RequestEntityTooLarge": 413,
    "SerializationException": 400,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 400,
    "UnknownOperationException": 400,
    "UnrecognizedClientException": 400,
}


class ServiceError(Exception):
    """An answer that is an error."""

    def __init__(self, code, message, status=None):
        super().__init__(message)
        self.code, self.message = code, message
        self.status = status or COMMON_ERRORS.get(code, 400)


class Misfit(Exception):
    """A response that does not fit its shape: a defect of this server."""


# ── shapes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

PYTHON_TYPES = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "boolean": (bool,),
    "timestamp": (int, float),
}
# Seconds since 1970 up to the year 9999.
LATEST = 253_402_300_800
MALFORMED, INVALID = "SerializationException", "ValidationException"


def problems(value, shape, path=""):
    """What is wrong with a value, as pairs of an error's code and words."""
    wanted = PYTHON_TYPES[shape.type_name]
    if shape.type_name == "timestamp" and isinstance(value, datetime):
        return
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        yield MALFORMED, f"{path or 'the body'} is not a {shape.type_name}"
        return
    yield from bounds(value, shape, path)
    if shape.type_name == "structure":
        yield from members(value, shape, path)
    elif shape.type_name == "list":
        for index, item in enumerate(value, 1):
            yield from problems(item, shape.member, f"{path}.{index}.member")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from problems(key, shape.key, f"{path}.{key}.key")
            yield from problems(item, shape.value, f"{path}.{key}.value")


def members(value, shape, path):
    """What is wrong with the members of a structure."""
    join = f"{path}." if path else ""
    for name in value:
        if name not in shape.members:
            # AWS ignores it; whoever sends it means something by it, so here it is a fault of the sender's.
            yield MALFORMED, f"{join}{name} is no member of {shape.name}"
    for name in shape.required_members:
        if name not in value:
            yield INVALID, f"Value at '{join}{name}' failed to satisfy constraint: Member must not be null"
    for name, member in shape.members.items():
        if name in value:
            yield from problems(value[name], member, f"{join}{name}")


def bounds(value, shape, path):
    """What is wrong with the size or form of one value. Like AWS, it repeats the value: a nonce may be in it."""
    rules = shape.metadata
    if shape.type_name == "timestamp" and not abs(value) < LATEST:
        yield MALFORMED, f"{path} is no time"
        return
    sized = shape.type_name in ("string", "list", "map")
    size = len(value) if sized else value
    what = "length" if sized else "value"
    said = f"Value '{value}' at '{path}' failed to satisfy constraint: Member must"
    if "min" in rules and size < rules["min"]:
        yield INVALID, f"{said} have {what} greater than or equal to {rules['min']}"
    if "max" in rules and size > rules["max"]:
        yield INVALID, f"{said} have {what} less than or equal to {rules['max']}"
    if "pattern" in rules and not re.fullmatch(rules["pattern"], value):
        yield INVALID, f"{said} satisfy regular expression pattern: {rules['pattern']}"
    if getattr(shape, "enum", None) and value not in shape.enum:
        yield INVALID, f"{said} satisfy enum value set: [{', '.join(shape.enum)}]"


def judge_request(value, shape):
    """Refuses a request as the service would."""
    found = list(problems(value, shape))
    for code, message in found:
        if code == MALFORMED:
            raise ServiceError(code, message)
    if found:
        count = f"{len(found)} validation error{'s' if len(found) > 1 else ''} detected: "
        raise ServiceError(INVALID, count + "; ".join(message for _, message in found))
    second_opinion(value, shape)


def judge_response(value, shape):
    """Ends in `Misfit` if a response of ours is not what the model says."""
    found = [message for _, message in problems(value, shape)]
    if found:
        raise Misfit(f"{shape.name}: {'; '.join(found)}")
    second_opinion(value, shape)


def second_opinion(value, shape):
    """botocore's own judgement. It knows fewer rules than ours: what it finds and ours did not is a defect of ours."""
    report = ParamValidator().validate(value, shape)
    if report.has_errors():
        raise Misfit(f"{shape.name}: {report.generate_report()}")


# ── bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def without_nulls(value):
    """The value without members that are null: they are the same as absent ones."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def route(path, headers):
    """The name of the operation that a request is for."""
    prefix, _, name = headers.get("X-Amz-Target", "").partition(".")
    if path != "/" or prefix != TARGET:
        raise ServiceError("UnknownOperationException", f"{path} with X-Amz-Target {prefix!r} is no operation")
    if headers.get("Content-Type") != CONTENT_TYPE:
        raise ServiceError("SerializationException", f"the type of the body is {headers.get('Content-Type')!r}")
    return name


def read_request(body):
    """What a body says, which still has to be judged."""

    def constant(name):
        raise ValueError(f"{name} is no JSON")

    try:
        value = json.loads(body.decode() or "{}", parse_constant=constant)
        # Half of a surrogate pair gets through the parser, and through nothing after it.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ServiceError("SerializationException", f"the body is not JSON: {error}") from None
    return without_nulls(value)


def write_response(model, value):
    """The body of a response, after botocore's parser has read the same out of it."""
    shape = model.output_shape
    if shape is None:
        if value is not None:
            raise Misfit(f"{model.name} answers nothing, not {value}")
        return b""
    judge_response(value, shape)
    body = {}
    botocore.serialize.create_serializer("json", False)._serialize(body, value, shape)
    body = json.dumps(body).encode()
    response = {"body": body, "headers": {}, "status_code": 200}
    read = botocore.parsers.create_parser("json").parse(response, shape)
    read.pop("ResponseMetadata", None)
    if read != value:
        raise Misfit(f"{model.name}: {read} was read back, {value} was meant")
    return body


def write_error(code, message):
    """The body of an error."""
    return json.dumps({"__type": code, "message": message}).encode()
