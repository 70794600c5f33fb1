"""A job: where it is in its life, its nonces, its credentials, and what was answered."""

import secrets
import string
import uuid
from collections import deque
from dataclasses import dataclass, field

FINAL = ("Succeeded", "Failed", "TimedOut")
# Of one job. A worker that calls more often than that shows in the count.
CALLS_KEPT = 200
CREDENTIALS_KEPT = 50


def word(length, alphabet=string.ascii_letters + string.digits):
    """Random characters."""
    return "".join(secrets.choice(alphabet) for _ in range(length))


@dataclass
class Job:
    """One job. Times are those of the service's clock, in seconds since 1970."""

    account: str
    action_type: dict
    # `JobData` without what is different each time: credentials.
    data: dict
    created: float
    deadline: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "Queued"
    # The nonce that is good: that of the last delivery, or the one it was acknowledged with.
    nonce: str | None = None
    acknowledged: float | None = None
    dispatched: float | None = None
    ended: float | None = None
    nonces: list = field(default_factory=list)
    # "issued" for new ones each time, a value for always the same, None for none.
    credentials: object = "issued"
    lifetime: float = 900
    issued: deque = field(default_factory=lambda: deque(maxlen=CREDENTIALS_KEPT))
    # Accepted answers: what was asked, in full.
    answers: list = field(default_factory=list)
    calls: deque = field(default_factory=lambda: deque(maxlen=CALLS_KEPT))
    calls_made: int = 0
    continued_by: str | None = None
    stopped: bool = False

    @property
    def open(self):
        """Whether an answer may still come."""
        return self.status not in FINAL

    def end(self, status, now):
        """The last that happens to it."""
        self.status, self.ended = status, now

    def new_nonce(self):
        """One that was never used. It is easily found in a log."""
        made = f"nonce-{word(24)}"
        self.nonces.append(made)
        del self.nonces[:-CALLS_KEPT]
        return made

    def deliver(self, now):
        """Hands it out: only the nonce of this delivery is good from now on."""
        self.nonce, self.dispatched, self.status = self.new_nonce(), now, "Dispatched"
        return self.nonce

    def job_data(self, now, expired=False):
        """`JobData` with credentials of its own."""
        data = dict(self.data)
        if self.credentials == "issued":
            data["artifactCredentials"] = self.issue(now, now if expired else now + self.lifetime)
        elif self.credentials is not None:
            data["artifactCredentials"] = self.credentials
        return data

    def issue(self, now, expires):
        """New credentials."""
        made = {
            "accessKeyId": "ASIA" + word(16, string.ascii_uppercase + string.digits),
            "secretAccessKey": word(40),
            "sessionToken": word(200),
        }
        self.issued.append({"credentials": made, "issued": now, "expires": expires})
        return made

    def expire_credentials(self, now):
        """Ends all that were issued."""
        for one in self.issued:
            one["expires"] = min(one["expires"], now)

    def record(self, call, nonce):
        """Keeps what was asked and answered, with the nonce that it was about."""
        self.calls_made += 1
        self.calls.append((call, nonce))

    def summary(self):
        """What a test mostly wants to know."""
        return {
            "id": self.id,
            "status": self.status,
            "acknowledged": self.acknowledged,
            "ended": self.ended,
            "answers": len(self.answers),
            "continuedBy": self.continued_by,
            "stopped": self.stopped,
        }

    def told(self):
        """All there is."""
        return self.summary() | {
            "nonce": self.nonce,
            "nonces": self.nonces,
            "created": self.created,
            "deadline": self.deadline,
            "data": self.data,
            "answers": self.answers,
            "calls": [{**call, "nonce": nonce} for call, nonce in self.calls],
            "callsMade": self.calls_made,
            "credentials": list(self.issued),
        }
