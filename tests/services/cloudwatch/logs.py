"""Groups, streams, and what `PutLogEvents` takes."""

import hashlib
import time

from codepipeline.wire import ServiceError

PER_EVENT = 26
LARGEST_BATCH = 1_048_576
LARGEST_EVENT = 262_144
DAY = 24 * 60 * 60 * 1000
OLDEST, NEWEST = 14 * DAY, 2 * 60 * 60 * 1000
# Messages of a stream that are kept; of more there is only the digest.
MESSAGES_KEPT = 50_000


def refused(message):
    """A request that can never be taken."""
    return ServiceError("InvalidParameterException", message)


class Stream:
    """What was put into a stream."""

    def __init__(self):
        self.messages, self.count, self.bytes = [], 0, 0
        self.digest = hashlib.sha256()
        self.batches = []

    def add(self, events):
        """Takes events."""
        self.count += len(events)
        self.batches.append(len(events))
        for event in events:
            text = event["message"].encode()
            self.bytes += len(text)
            self.digest.update(text)
            if len(self.messages) < MESSAGES_KEPT:
                self.messages.append([event["timestamp"], event["message"]])

    def told(self):
        """For tests."""
        return {
            "events": self.count,
            "bytes": self.bytes,
            "sha256": self.digest.hexdigest(),
            "messages": self.messages,
            "batches": self.batches,
        }


class Logs:
    """All groups."""

    def __init__(self):
        self.groups = {}

    def create_log_group(self, request):
        name = request["logGroupName"]
        if name in self.groups:
            raise ServiceError("ResourceAlreadyExistsException", "The specified log group already exists")
        self.groups[name] = {}

    def group(self, request):
        """A group that is there."""
        found = self.groups.get(request["logGroupName"])
        if found is None:
            raise ServiceError("ResourceNotFoundException", "The specified log group does not exist.")
        return found

    def create_log_stream(self, request):
        group, name = self.group(request), request["logStreamName"]
        if name in group:
            raise ServiceError("ResourceAlreadyExistsException", "The specified log stream already exists")
        group[name] = Stream()

    def put_log_events(self, request):
        stream = self.group(request).get(request["logStreamName"])
        if stream is None:
            raise ServiceError("ResourceNotFoundException", "The specified log stream does not exist.")
        events = request["logEvents"]
        check(events)
        now = int(time.time() * 1000)
        old = sum(event["timestamp"] < now - OLDEST for event in events)
        new = sum(event["timestamp"] > now + NEWEST for event in events)
        stream.add(events[old : len(events) - new])
        rejected = {}
        if old:
            rejected["tooOldLogEventEndIndex"] = old
        if new:
            rejected["tooNewLogEventStartIndex"] = len(events) - new
        return {"nextSequenceToken": str(stream.count)} | ({"rejectedLogEventsInfo": rejected} if rejected else {})


def check(events):
    """A batch is taken whole or not at all."""
    sizes = [len(event["message"].encode()) + PER_EVENT for event in events]
    if max(sizes) > LARGEST_EVENT:
        raise refused(f"Log event too large: {max(sizes)} bytes exceeds limit of {LARGEST_EVENT}")
    if sum(sizes) > LARGEST_BATCH:
        raise refused(f"Upload too large: {sum(sizes)} bytes exceeds limit of {LARGEST_BATCH}")
    times = [event["timestamp"] for event in events]
    if times != sorted(times):
        raise refused("Log events in a single PutLogEvents request must be in chronological order.")
    if times[-1] - times[0] > DAY:
        raise refused("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
