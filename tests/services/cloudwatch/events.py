"""What `PutEvents` takes."""

import json
import uuid

from codepipeline.wire import ServiceError

LARGEST = 262_144


def size(entry):
    """As EventBridge counts."""
    texts = [entry.get("Source"), entry.get("DetailType"), entry.get("Detail"), *entry.get("Resources", [])]
    return (14 if "Time" in entry else 0) + sum(len(text.encode()) for text in texts if text)


def problem(entry):
    """Why an entry is not taken."""
    if not all(entry.get(name) for name in ("Source", "DetailType", "Detail")):
        return "InvalidArgument", "Source, DetailType and Detail are required"
    if entry["Source"].startswith("aws."):
        return "NotAuthorizedForSourceException", "Not authorized for the source."
    try:
        whole = isinstance(json.loads(entry["Detail"]), dict)
    except ValueError:
        whole = False
    return None if whole else ("MalformedDetail", "Detail is malformed.")


class Events:
    """All that was taken."""

    def __init__(self):
        self.taken = []

    def put_events(self, request, fails):
        """`fails` is asked of each entry for the code of a failure, if it is to fail."""
        entries = request["Entries"]
        if sum(size(entry) for entry in entries) > LARGEST:
            raise ServiceError("ValidationException", "Total size of the entries in the request is over the limit.")
        answers = []
        for entry in entries:
            wrong, code = problem(entry), fails()
            if wrong or code:
                code, message = wrong or (code, "by fault")
                answers.append({"ErrorCode": code, "ErrorMessage": message})
                continue
            self.taken.append(entry | {"Detail": json.loads(entry["Detail"])})
            answers.append({"EventId": str(uuid.uuid4())})
        return {"FailedEntryCount": sum("ErrorCode" in one for one in answers), "Entries": answers}
