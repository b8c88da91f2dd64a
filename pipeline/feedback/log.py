"""Reads logged requests with their answers.

What cannot be used is counted: damaged records with file and place, calls
that answer no list with what they are.
"""

import glob
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from pipeline.tables.schema import DataError
from serving import signatures
from serving.prediction_log import records
from serving.prediction_log.collector import SUFFIX
from serving.prediction_log.records import Broken
from serving.wire import tensors

# Outputs that are lists of items, best first.
_LISTS = ("item_ids", "candidate_ids")


class Shown(NamedTuple):
    """One answered list; `scores` has a score for each of `item_ids`."""

    item_ids: list[str]
    scores: list[float]


@dataclass(frozen=True)
class Logged:
    """A request and its answer.

    Attributes:
        model: That answered.
        version: Of it.
        label: By which it was asked, "" for none.
        seconds: When, since the epoch.
    """

    model: str
    version: int
    label: str
    seconds: int
    request: predict_pb2.PredictRequest
    response: predict_pb2.PredictResponse


@dataclass
class Log:
    """The files that one argument names, and what reading them left out.

    Attributes:
        where: A file, a folder, or a pattern.
        num_records: Whole ones that were read.
        broken: What was not to be read.
        passed_over: Records of no use here, by what they are.
    """

    where: str
    num_records: int = 0
    broken: list[Broken] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    def paths(self) -> list[Path]:
        """The files.

        Raises:
            DataError: If there are none.
        """
        folder = Path(self.where)
        if folder.is_dir():
            found = sorted(folder.rglob(f"*{SUFFIX}"))
        else:
            found = sorted(
                path
                for path in map(Path, glob.glob(self.where, recursive=True))
                if path.is_file()
            )
        if not found:
            raise DataError(
                f"LOG must name logged requests: a file, a folder of *{SUFFIX} "
                f"or a pattern. Received: {self.where!r}, where there are none."
                " Log some: make log-requests SHARE=0.05."
            )
        return found

    def __iter__(self) -> Iterator[Logged]:
        """The answers that are lists, file after file."""
        for path in self.paths():
            for record in records.read(path):
                if isinstance(record, Broken):
                    self.broken.append(record)
                    continue
                try:
                    logged = prediction_log_pb2.PredictionLog.FromString(
                        record.data
                    )
                except DecodeError:
                    why = "no PredictionLog"
                    self.broken.append(Broken(path, record.offset, why))
                    continue
                self.num_records += 1
                if found := self._usable(logged):
                    yield found

    def _usable(
        self, logged: prediction_log_pb2.PredictionLog
    ) -> Logged | None:
        if logged.WhichOneof("log_type") != "predict_log":
            self.passed_over[logged.WhichOneof("log_type") or "empty"] += 1
            return None
        request, response = logged.predict_log.request, logged.predict_log
        spec = logged.log_metadata.model_spec
        if _name(response.response) is None:
            asked = request.model_spec.signature_name
            asked = asked or signatures.SERVING_DEFAULT
            self.passed_over[f"{spec.name}: {asked}"] += 1
            return None
        return Logged(
            spec.name,
            spec.version.value,
            request.model_spec.version_label,
            logged.log_metadata.timestamp_secs,
            request,
            response.response,
        )

    def told(self) -> list[str]:
        """What was left out, in lines for people."""
        lines = [f"broken: {one}" for one in self.broken[:5]]
        more = len(self.broken) - len(lines)
        lines += [f"broken: {more} more"] if more > 0 else []
        return lines + [
            f"no list of items: {count} of {what}"
            for what, count in sorted(self.passed_over.items())
        ]


def user_ids(request: predict_pb2.PredictRequest) -> list[str]:
    """Who asked, a row each; none where the model is not told."""
    if signatures.USER_ID not in request.inputs:
        return []
    found = tensors.decode(request.inputs[signatures.USER_ID])
    return [_text(value) for value in found.ravel()]


def lists(response: predict_pb2.PredictResponse) -> list[Shown]:
    """The answered lists, a row each, without what pads them."""
    name = _name(response)
    if name is None:
        return []
    ids = tensors.decode(response.outputs[name])
    scores = tensors.decode(response.outputs["scores"])
    if ids.shape != scores.shape or ids.ndim != 2:
        return []
    found = []
    for row, values in zip(ids.tolist(), scores.tolist(), strict=True):
        kept = [(_text(one), v) for one, v in zip(row, values, strict=True)]
        kept = [pair for pair in kept if pair[0]]
        found.append(Shown([i for i, _ in kept], [s for _, s in kept]))
    return found


def _name(response: predict_pb2.PredictResponse) -> str | None:
    """The output that has the items; None where there is none."""
    if "scores" not in response.outputs:
        return None
    return next((name for name in _LISTS if name in response.outputs), None)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
