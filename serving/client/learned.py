"""What servers take: signatures by model and replica, learned by asking.

In a rollout replicas are at different versions, which may take other inputs.
Each replica is asked what it takes. Behind a name that stands for several
addresses nobody can say which of them answers: the inputs of two versions are
kept, and a question that one address refuses is drawn again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from serving import signatures
from serving.client import messages
from serving.client.transport import calls, channel, fleet
from serving.errors import ServingError
from serving.wire import serving_pb2

_MOST_KNOWN = 256
# A version that was not met for so long is not one of a rollout.
_ROLLOUT_SECONDS = 30.0
# A mistake is not held against all replicas anew, question by question.
_TRUSTED_SECONDS = 1.0
# What a request gets that does not fit the version it reaches.
_REFUSED = ("INVALID_ARGUMENT", "FAILED_PRECONDITION")

# Makes a request for a signature with these inputs.
Fill = Callable[[messages.Inputs], serving_pb2.PredictRequest]


@dataclass(frozen=True)
class Taken:
    """What one version takes.

    Attributes:
        inputs: By signature.
        version: That said so.
        said: When, seconds of the monotonic clock.
        met: When it was last met.
    """

    inputs: messages.Signatures
    version: int
    said: float
    met: float


class Unlearned(Exception):
    """The replica that is to be asked has not said what it takes."""


@dataclass
class Known:
    """What replicas take, by model, version or label, and replica.

    Entries are replaced, never changed: several threads read them.
    """

    _taken: dict[tuple[fleet.Wanted, str], tuple[Taken, ...]] = field(
        default_factory=dict
    )
    _latest: dict[fleet.Wanted, Taken] = field(default_factory=dict)
    _doubtful: set[tuple[fleet.Wanted, str]] = field(default_factory=set)

    def of(self, wanted: fleet.Wanted, replica: str) -> tuple[Taken, ...]:
        """The versions of a replica, the one met last before the other."""
        return self._taken.get((wanted, replica), ())

    def likely(self, wanted: fleet.Wanted, replica: str) -> tuple[Taken, ...]:
        """Those of a replica, or what another one said or answered last."""
        latest = self._latest.get(wanted)
        return self.of(wanted, replica) or ((latest,) if latest else ())

    def learn(self, wanted: fleet.Wanted, replica: str, taken: Taken) -> None:
        """Takes note of what a replica says that it takes."""
        # A pinned version's entry is never asked for again once it has gone.
        if len(self._taken) >= _MOST_KNOWN:
            self._taken.clear()
            self._latest.clear()
        self.meet(wanted, replica, taken)
        self._doubtful.discard((wanted, replica))

    def meet(self, wanted: fleet.Wanted, replica: str, taken: Taken) -> None:
        """Takes note of the version that a replica answered with."""
        others: list[Taken] = []
        if channel.is_several(replica):
            others = [
                other
                for other in self.of(wanted, replica)
                if other.version != taken.version
                and taken.met - other.met < _ROLLOUT_SECONDS
            ]
        self._taken[wanted, replica] = (taken, *others[:1])
        self._latest[wanted] = taken

    def doubt(self, wanted: fleet.Wanted, replica: str) -> None:
        """Has a replica asked anew: a version answered that said nothing."""
        self._doubtful.add((wanted, replica))

    def is_doubtful(self, wanted: fleet.Wanted, replica: str) -> bool:
        """Whether it is to be asked anew."""
        return (wanted, replica) in self._doubtful

    def forget(self, model: str) -> None:
        """Drops what all replicas take for a model."""
        for wanted, replica in list(self._taken):
            if wanted[0] == model:
                self._taken.pop((wanted, replica), None)
                self._latest.pop(wanted, None)


@dataclass
class Attempts:
    """One question to one model, from replica to replica.

    Attributes:
        spec: Model, version and signature.
        fill: Makes the request.
        draws: How often an address behind a name may refuse the inputs of one
            version.
        replica: The last that a request was made for.
        used: With the inputs of this version.
        refused: Replicas that have said what they take, and do not take this.
        retries: Calls after the first one that was refused.
        wanted: The model of the spec, and the version or label it pins.
    """

    known: Known
    spec: serving_pb2.ModelSpec
    fill: Fill
    draws: int
    replica: str = ""
    used: Taken | None = None
    refused: list[str] = field(default_factory=list)
    retries: int = 0
    wanted: fleet.Wanted = field(init=False)
    _asked: set[str] = field(default_factory=set)
    _refusals: int = 0
    _is_local: bool = False

    def __post_init__(self) -> None:
        self.wanted = calls.wanted(self.spec)

    def request(self, replica: str) -> serving_pb2.PredictRequest:
        """The request for a replica, as it takes it.

        Raises:
            Unlearned: If it has not said what it takes.
            ServingError: If it would refuse.
        """
        self.replica, self._is_local = replica, True
        versions = self.known.likely(self.wanted, replica)
        if not versions or self.known.is_doubtful(self.wanted, replica):
            raise Unlearned
        if self._refusals // self.draws % 2:
            versions = versions[::-1]
        refusals = []
        for taken in versions:
            try:
                request = self.fill(self._inputs(taken))
            except ServingError as error:
                refusals.append(error)
            else:
                self.used, self._is_local = taken, False
                return request
        raise refusals[0]

    def learned(self, replica: str, taken: Taken) -> None:
        """Takes note of what a replica takes now."""
        self.known.learn(self.wanted, replica, taken)
        self._asked.add(replica)

    def goes_on(self, error: ServingError, replicas: Sequence[str]) -> bool:
        """Whether a question that was refused may be answered yet.

        Raises:
            Unlearned: If the replica may take something else by now.
        """
        if error.code == "NOT_FOUND":
            self.known.forget(self.spec.name)
        if error.code not in _REFUSED:
            return False
        if self.replica in self.refused:
            return False  # There is no other that answers.
        self.retries += 1
        if self.replica not in self._asked:
            raise Unlearned
        if not self._is_local and channel.is_several(self.replica):
            self._refusals += 1
            # Of two versions each has its turn twice; of one, another address
            # may say what the other takes.
            turns = len(self._versions(self.replica)) ** 2
            if turns == 1 and self._refusals == self.draws:
                raise Unlearned
            if self._refusals < self.draws * turns:
                return True
        self.refused.append(self.replica)
        if self._is_local:
            self.refused += filter(self._refuses_too, replicas)
        return not set(replicas) <= set(self.refused)

    def _refuses_too(self, other: str) -> bool:
        """Whether a replica has lately said to be where this was refused."""
        known = self.known.of(self.wanted, other)
        return (
            bool(known)
            and self._versions(other) <= self._versions(self.replica)
            and time.monotonic() - known[0].said < _TRUSTED_SECONDS
        )

    def answered(self, replica: str, version: int, moment: float) -> None:
        """Takes note of the version that answered."""
        known, used = self._versions(replica), self.used
        if used is not None and version == used.version:
            # Of a listed replica that changes nothing.
            if not known or channel.is_several(replica):
                self.known.meet(self.wanted, replica, replace(used, met=moment))
        elif version not in known:
            self.known.doubt(self.wanted, replica)

    def _versions(self, replica: str) -> set[int]:
        return {one.version for one in self.known.of(self.wanted, replica)}

    def _inputs(self, taken: Taken) -> messages.Inputs:
        name = self.spec.signature_name
        if name in taken.inputs:
            return taken.inputs[name]
        needed = ""
        if name == signatures.WITH_OPTIONS:
            needed = ", which Query.filters needs"
        raise ServingError(
            f"Model {self.spec.name!r} must have signature {name!r}{needed}. "
            f"Received: {', '.join(sorted(taken.inputs))} (from version "
            f"{taken.version}). Publish a version exported by this pipeline.",
            "FAILED_PRECONDITION",
        )
