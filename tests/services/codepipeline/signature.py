"""Signature Version 4: who sent a request, and when."""

import re
from datetime import datetime, timezone

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from .wire import ServiceError

SERVICE = "codepipeline"
# How far the sender's clock may be off, in seconds.
TOLERANCE = 300
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)"
    r"/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
# Test keys: nothing anywhere accepts them.
KNOWN_KEYS = {
    "AKIDEXAMPLE": {"secret": "not-a-real-secret-key", "token": None},
    "test": {"secret": "test", "token": None},
}


class Signer(SigV4Auth):
    """botocore's signer for the headers that the sender signed."""

    def __init__(self, credentials, region, names):
        super().__init__(credentials, SERVICE, region)
        self.names = names

    def headers_to_sign(self, request):
        chosen = HTTPHeaders()
        for name in self.names:
            for value in request.headers.get_all(name, []):
                chosen[name] = value
        return chosen


def check(keys, now, method, path, headers, body):
    """The access key of a request. `now` is what time the server takes it to be, in seconds since 1970."""
    given = headers.get("Authorization")
    if not given:
        raise ServiceError("MissingAuthenticationTokenException", "Missing Authentication Token")
    parts = AUTHORIZATION.fullmatch(given)
    if not parts:
        raise ServiceError("IncompleteSignatureException", "the Authorization header is no Signature Version 4")
    known = keys.get(parts["key"])
    if not known or known["token"] != headers.get("X-Amz-Security-Token"):
        raise ServiceError("UnrecognizedClientException", "The security token included in the request is invalid.")
    if parts["service"] != SERVICE:
        raise ServiceError("InvalidSignatureException", f"Credential should be scoped to correct service: '{SERVICE}'.")
    stamp = check_date(now, headers.get("X-Amz-Date"), parts["day"])
    names = parts["headers"].split(";")
    unsigned = [name for name in map(str.lower, headers) if name.startswith("x-amz-") and name not in names]
    if unsigned or "host" not in names:
        raise ServiceError("InvalidSignatureException", f"not signed: {', '.join(unsigned) or 'host'}")
    if signature(known, parts, names, stamp, method, path, headers, body) != parts["signature"]:
        raise ServiceError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method.",
        )
    return parts["key"]


def check_date(now, stamp, day):
    """The time stamp, if it is one and near enough."""
    try:
        at = datetime.strptime(stamp or "", SIGV4_TIMESTAMP).replace(tzinfo=timezone.utc)
    except ValueError:
        raise ServiceError("IncompleteSignatureException", "X-Amz-Date is no time") from None
    if not stamp.startswith(day):
        raise ServiceError(
            "InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from ISO-8601"
        )
    here = datetime.fromtimestamp(now, timezone.utc).strftime(SIGV4_TIMESTAMP)
    if at.timestamp() < now - TOLERANCE:
        raise ServiceError(
            "InvalidSignatureException", f"Signature expired: {stamp} is now earlier than {here} - 5 min."
        )
    if at.timestamp() > now + TOLERANCE:
        raise ServiceError(
            "InvalidSignatureException", f"Signature not yet current: {stamp} is still later than {here} + 5 min."
        )
    return stamp


def signature(known, parts, names, stamp, method, path, headers, body):
    """What the signature has to be."""
    request = AWSRequest(method=method, url=f"http://{headers['Host']}{path}", data=body)
    for name, value in headers.items():
        request.headers[name] = value
    # What the sender says of the body is not taken for granted.
    del request.headers["X-Amz-Content-SHA256"]
    request.context["timestamp"] = stamp
    signer = Signer(Credentials("", known["secret"]), parts["region"], names)
    claimed = headers.get("X-Amz-Content-SHA256")
    if claimed:
        if claimed != signer.payload(request):
            raise ServiceError("InvalidSignatureException", "X-Amz-Content-SHA256 is not that of the body")
        request.headers["X-Amz-Content-SHA256"] = claimed
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    return signer.signature(to_sign, request)
