"""What goes wrong, and when: faults that a test has set for coming calls."""

import random
import threading
from dataclasses import dataclass, field

from .wire import COMMON_ERRORS, MODEL

# What each kind may say besides operation, kind, times, skip, rate and seed, with what it is otherwise.
KINDS = {
    # An error as answer, without the effect of the call, or after it.
    "error": {
        "code": "ServiceUnavailableException",
        "status": None,
        "message": "a fault",
        "when": "before",
        "form": "own",
    },
    # The connection ends without an answer, before the effect or after it: then the answer is lost.
    "close": {"when": "before", "reset": False},
    # Half an answer, after the effect.
    "truncate": {},
    # No answer until `/_control/release`, the client goes, or so many real seconds are over. Then all goes on.
    "stall": {"when": "before", "seconds": 600},
    # PollForJobs hands out one job twice in one answer, or again a job that somebody works on.
    "duplicate": {"mode": "same"},
    # AcknowledgeJob answers this status, and the job stays what it is.
    "status": {"status": "Queued"},
    # PollForJobs and GetJobDetails give credentials that are no good any more.
    "expired-credentials": {},
}
COMMON = {"operation": "*", "times": 1, "skip": 0, "rate": 1.0, "seed": 0}
CHOICES = {"when": ("before", "after"), "mode": ("same", "again"), "form": ("own", "html", "empty")}
ONLY_FOR = {
    "duplicate": ("PollForJobs",),
    "status": ("AcknowledgeJob",),
    "expired-credentials": ("PollForJobs", "GetJobDetails"),
}


class BadFault(ValueError):
    """A test asked for what there is not."""


@dataclass
class Fault:
    """One that a call met. `applied` is false if it came to nothing, so that it waits for the next call."""

    setting: dict = field(default_factory=dict)
    applied: bool = True

    def __getattr__(self, name):
        return self.setting[name]


class Faults:
    """Faults in the order they were set. One call meets at most one: the first that is for it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.clear()

    def clear(self):
        with self.lock:
            self.settings = []

    def add(self, asked):
        """Sets one. `times` null is for ever."""
        setting = checked(asked)
        setting["met"] = 0
        setting["random"] = random.Random(setting["seed"])
        with self.lock:
            self.settings.append(setting)

    def take(self, operation):
        """The fault for this call."""
        with self.lock:
            for setting in self.settings:
                if setting["operation"] not in ("*", operation) or setting["times"] == 0:
                    continue
                if operation not in ONLY_FOR.get(setting["kind"], (operation,)):
                    continue
                if setting["skip"] > 0:
                    setting["skip"] -= 1
                    continue
                if setting["random"].random() < setting["rate"]:
                    self.count(setting, 1)
                    return Fault(setting)
        return None

    def put_back(self, fault):
        """For a fault that came to nothing."""
        with self.lock:
            self.count(fault.setting, -1)

    @staticmethod
    def count(setting, by):
        setting["met"] += by
        if setting["times"] is not None:
            setting["times"] -= by

    def told(self):
        """All that were set, with how often each was met."""
        with self.lock:
            return [{key: value for key, value in setting.items() if key != "random"} for setting in self.settings]


def checked(asked):
    """A fault with all its members, or `BadFault`."""
    kind = asked.get("kind")
    if kind not in KINDS:
        raise BadFault(f"kind is one of {', '.join(KINDS)}")
    setting = {"kind": kind} | COMMON | KINDS[kind]
    unknown = set(asked) - set(setting)
    if unknown:
        raise BadFault(f"a fault of kind {kind} has no {', '.join(sorted(unknown))}")
    setting |= asked
    for name, values in CHOICES.items():
        if name in setting and setting[name] not in values:
            raise BadFault(f"{name} is one of {', '.join(values)}")
    check_operation(setting)
    return setting


def check_operation(setting):
    """The operation is one, can have such a fault, and has the error."""
    operation, kind = setting["operation"], setting["kind"]
    if operation != "*" and operation not in MODEL.operation_names:
        raise BadFault(f"{operation} is no operation")
    if operation != "*" and operation not in ONLY_FOR.get(kind, (operation,)):
        raise BadFault(f"{kind} is for {' and '.join(ONLY_FOR[kind])}")
    if kind == "status" and setting["status"] not in MODEL.shape_for("JobStatus").enum:
        raise BadFault(f"{setting['status']} is no status of a job")
    if kind == "error":
        modelled = () if operation == "*" else [error.name for error in MODEL.operation_model(operation).error_shapes]
        if setting["code"] not in COMMON_ERRORS and setting["code"] not in modelled:
            raise BadFault(f"{operation} has no {setting['code']}")
