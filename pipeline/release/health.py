"""Whether a version on trial was well for an hour, as Prometheus saw it.

Enters: Prometheus' HTTP API, with the rules of serving/deploy/alerts.yaml, and
the ledger. Leaves: the version promoted or taken away, or left as it is where
it is too early to say. What counts against a trial is the rules' to say, by
their label `trial: ends`; nothing is judged here.
"""

import contextlib
import http.client
import json
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline.release import publish, trial
from pipeline.release.gate import GateRejected
from pipeline.run.config import Config
from serving.errors import ServingError
from serving.releases import history, ledger

SECONDS = 3_600
# In fewer, an error rate of one percent cannot be seen.
_FEWEST_REQUESTS = 100
_TIMEOUT_SECONDS = 30.0
_LABEL, _ENDS = "trial", "ends"
_AGAINST = f'{_LABEL}="{_ENDS}"'
_REQUESTS = ':recommender:version_request_count{{version="{}"}}'


class Decided(NamedTuple):
    """What became of a trial.

    Attributes:
        version: That is on trial or was, None without one.
        is_live: Whether it is the live version now.
        why: In a sentence.
    """

    version: int | None
    is_live: bool
    why: str


def promote(config: Config, address: str, why: str = "") -> Decided:
    """Promotes a canary that was well for an hour, takes away one that was not.

    Args:
        address: Of Prometheus, such as http://prometheus:9090.
        why: For the ledger.

    Raises:
        GateRejected: If it was taken away, or is no longer on trial.
        ServingError: If Prometheus cannot say how it was; nothing changes.
    """
    serving = config.serving_directory
    version = history.state(serving).canary
    if version is None:
        return Decided(None, False, "no version is on trial")
    tried = _tried_seconds(ledger.read(serving)[0], version)
    prometheus = Prometheus(address)
    prometheus.require_rules()
    if fired := prometheus.fired(tried):
        words = f"fired during the trial: {', '.join(fired)}"
        publish.rollback(config, why=words, trial_of=version)
        raise GateRejected(
            "A promotion needs an hour without alerts. Received: "
            f"{words} (from {address}). Version {version} was taken away; "
            "the ledger has why."
        )
    if tried < SECONDS:
        told = f"on trial for {max(tried, 0) / 60:.0f} minutes of an hour"
        return Decided(version, False, told)
    if early := prometheus.too_early(version):
        return Decided(version, False, early)
    well = "an hour without alerts"
    text = f"{well}: {why}" if why else well
    trial.promote(config, text, trial_of=version)
    return Decided(version, True, well)


def _tried_seconds(entries: list[ledger.Entry], version: int) -> float:
    """Since its trial began; an hour where the ledger does not tell."""
    began = None
    for entry in entries:
        if entry.version == version:
            is_tried = entry.event == ledger.CANARY
            began = (began or entry.at) if is_tried else None
    return time.time() - ledger.seconds(began) if began else SECONDS


class Prometheus:
    """The questions, over its HTTP API.

    Args:
        address: With http:// or https://.
    """

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        if not address.startswith(("http://", "https://")):
            raise ServingError(
                "Prometheus' address must begin with http:// or https://. "
                f"Received: {address!r}. Such as http://prometheus:9090."
            )

    def require_rules(self) -> None:
        """Makes sure that somebody watches.

        Raises:
            ServingError: If no rule may end a trial, or one cannot be judged.
        """
        with self._answering():
            against = [
                rule
                for group in self._ask("rules", type="alert")["groups"]
                for rule in group["rules"]
                if rule["labels"].get(_LABEL) == _ENDS
            ]
            broken = [r["name"] for r in against if r["health"] == "err"]
        if not against or broken:
            found = f"rules that fail: {', '.join(broken)}"
            raise ServingError(
                f"Rules with the label {_AGAINST} must watch a trial. "
                f"Received: {found if broken else 'none'} (from "
                f"{self._address}/rules). Load serving/deploy/alerts.yaml "
                "there. The trial goes on."
            )

    def fired(self, seconds: float) -> list[str]:
        """Alerts against a trial that fired within so long, an hour at most."""
        window = max(1, int(min(seconds, SECONDS)))
        alerts = f'ALERTS{{alertstate="firing",{_AGAINST}}}'
        query = f"last_over_time({alerts}[{window}s])"
        return sorted({row["alertname"] for row, _ in self._query(query)})

    def too_early(self, version: int) -> str:
        """Why a version cannot be judged yet, "" where it can."""
        requests = _REQUESTS.format(version)
        if not self._query(f"count({requests} offset 1h)"):
            return "Prometheus has not watched it for an hour"
        query = f"sum(increase({requests}[1h]))"
        count = sum(value for _, value in self._query(query))
        if count < _FEWEST_REQUESTS:
            return (
                f"{count:.0f} requests reached it within the hour, "
                f"{_FEWEST_REQUESTS} are needed"
            )
        return ""

    def _query(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each row."""
        with self._answering():
            found = self._ask("query", query=query)["result"]
            return [(row["metric"], float(row["value"][1])) for row in found]

    def _ask(self, what: str, **given: str) -> Any:
        url = f"{self._address}/api/v1/{what}?{urllib.parse.urlencode(given)}"
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as page:
            found = json.load(page)
        if found["status"] != "success":
            raise ValueError(found.get("error", found["status"]))
        return found["data"]

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Whatever an answer lacks, it is one error."""
        try:
            yield
        except (
            *(OSError, http.client.HTTPException, ValueError),
            *(LookupError, TypeError, AttributeError),
        ) as error:
            raise ServingError(
                "Prometheus must say how the canary was. Received: "
                f"{error!r} (from {self._address}). The trial goes on; run it "
                "again, or decide yourself: make promote, make rollback."
            ) from error
