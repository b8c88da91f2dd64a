"""TensorFlow Serving's REST API and the metrics page, over HTTP.

Paths, status codes and bodies are the original's, see `requests`, `examples`
and `text`. `port` opens the port.
"""

import re
import time
import urllib.parse
import zlib
from dataclasses import dataclass
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIEnvironment

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.errors import invalid
from serving.releases import versions
from serving.server.health import PATHS, Health
from serving.server.rest import examples, requests
from serving.server.rest import text as answers
from serving.server.servicer import Servicer, as_serving_error
from serving.wire import codes, tensors

_MODEL = r"([^/:]+)"
_CHOICE = r"(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?"
_CALL = re.compile(
    rf"(?i:/v1/models/{_MODEL}{_CHOICE}):(classify|regress|predict)", re.ASCII
)
_LOOK = re.compile(
    rf"/v1/models(?:/{_MODEL})?{_CHOICE}(?:/(metadata))?",
    re.IGNORECASE | re.ASCII,
)
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_REASONS[499] = "Client Closed Request"
_NOT_FOUND = (
    "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n"
    "<H1>Not Found</H1>\n</BODY></HTML>\n"
)
_CORS = [
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
]
_INFERENCE = {
    "classify": classification_pb2.ClassificationRequest,
    "regress": regression_pb2.RegressionRequest,
}
# What a compressed body may always grow to, and how many times beyond that:
# JSON takes a tenth to a fiftieth.
_INFLATED_BYTES = 2**20
_MAX_RATIO = 100


@dataclass
class Rest:
    """The API as a WSGI application.

    Attributes:
        timeout_seconds: Longest call, 0 for no limit.
        metrics_path: Where the metrics page is, empty for nowhere.
        max_body_bytes: What a compressed body may grow to.
        health: Answers probes, None for nobody.
    """

    servicer: Servicer
    timeout_seconds: float = 30.0
    metrics_path: str = ""
    with_cors: bool = False
    max_body_bytes: int = 2**26
    health: Health | None = None

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> list[bytes]:
        """Answers one HTTP request."""
        status, text, content_type = 200, "", "text/plain"
        headers: list[tuple[str, str]] = []
        path, method = _raw_path(environ), environ["REQUEST_METHOD"]
        if self.health is not None and path in PATHS:
            status, text = self.health.answer(path)
        elif self.metrics_path and path == self.metrics_path:
            text = self.servicer.metrics.page()
        elif not path.lower().startswith("/v1/"):
            status, text, content_type = 404, _NOT_FOUND, "text/html"
        else:
            headers = _CORS if self.with_cors else []
            if method == "OPTIONS":
                origin = environ.get("HTTP_ORIGIN", "")
                status = 200 if re.search("https?://", origin) else 400
            else:
                body = b""
                if method == "POST":
                    body = environ["wsgi.input"].read()
                is_gzip = "gzip" in environ.get("HTTP_CONTENT_ENCODING", "")
                status, text = self.answer(method, path, body, is_gzip)
                content_type = "application/json"
        data = text.encode("utf-8", "surrogateescape")
        length = ("Content-Length", str(len(data)))
        start_response(
            f"{status} {_REASONS[status]}",
            [("Content-Type", content_type), length, *headers],
        )
        return [data]

    def answer(
        self, method: str, path: str, body: bytes, is_gzip: bool = False
    ) -> tuple[int, str]:
        """HTTP status and body of a request below /v1/.

        The path is as the caller sent it, escapes included.
        """
        start = time.perf_counter()
        spec, verb, code = model_pb2.ModelSpec(), "", "OK"
        try:
            pattern = {"POST": _CALL, "GET": _LOOK}.get(method)
            found = pattern.fullmatch(path) if pattern else None
            if found is None:
                raise invalid(f"Malformed request: {method} {path}")
            escaped, number, label, verb = found.groups(default="")
            spec.name = _unescape(escaped)
            if is_gzip:
                body = _inflate(body, self.max_body_bytes)
            if label:
                spec.version_label = _unescape(label)
            if number:
                version = versions.parse_version(number)
                if version is None:
                    raise invalid(
                        f"Failed to convert version: {number} to numeric."
                    )
                spec.version.value = version
            if method == "GET":
                text = self._look(verb, spec)
            elif verb == "predict":
                text = self._predict(spec, body)
            else:
                text = self._infer(verb, spec, body)
        except Exception as error:
            told = as_serving_error(error, f"REST {verb}")
            code, text = told.code, answers.error(str(told))
        self.servicer.count(spec.name, code)
        if code == "OK":
            api = verb if method == "POST" else ""
            self.servicer.metrics.request_latency.add(
                (spec.name, api, "REST"), time.perf_counter() - start
            )
        return codes.HTTP[code], text

    def _look(self, verb: str, spec: model_pb2.ModelSpec) -> str:
        if not spec.name:
            raise invalid("Missing model name in request.")
        if verb != "metadata":
            return _json(
                self.servicer.get_model_status(
                    get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
                )
            )
        response = self.servicer.get_model_metadata(
            get_model_metadata_pb2.GetModelMetadataRequest(
                model_spec=spec, metadata_field=["signature_def"]
            )
        )
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return (
            f'{{\n"model_spec":{_json(response.model_spec)},\n'
            f'"metadata": {{"signature_def": {_json(signatures)}}}\n}}\n'
        )

    def _infer(self, verb: str, spec: model_pb2.ModelSpec, body: bytes) -> str:
        is_classify = verb == "classify"
        request = _INFERENCE[verb](model_spec=spec)
        examples.fill(requests.parse(body), request)
        ask = self.servicer.classify if is_classify else self.servicer.regress
        write = answers.classifications if is_classify else answers.regressions
        return write(ask(request, self.timeout_seconds or None).result)

    def _predict(self, spec: model_pb2.ModelSpec, body: bytes) -> str:
        request = predict_pb2.PredictRequest(model_spec=spec)

        def find_inputs(name: str) -> dict[str, meta_graph_pb2.TensorInfo]:
            key = name or "serving_default"
            with self.servicer.core.acquire(request.model_spec) as version:
                definition = version.bundle.signature_defs.get(key)
                if definition is None:
                    raise invalid(
                        f'Serving signature name: "{key}" not found in '
                        "signature def"
                    )
                return dict(sorted(definition.inputs.items()))

        document = requests.parse(body)
        is_row = requests.fill_predict(document, request, find_inputs)
        response = self.servicer.predict(request, self.timeout_seconds or None)
        arrays = {
            name: _decode(response.outputs[name])
            for name in sorted(response.outputs)
        }
        write = answers.predictions if is_row else answers.outputs
        return write(arrays)


def _inflate(body: bytes, limit: int) -> bytes:
    """The bytes of a gzip body, which may ask for far more than it carries."""
    limit = min(limit, max(_INFLATED_BYTES, _MAX_RATIO * len(body)))
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        found = stream.decompress(body, limit)
    except zlib.error as error:
        raise invalid(
            f"Failed to uncompress the gzipped body: {error}"
        ) from error
    if not stream.eof:
        raise invalid(
            "A gzipped body must be complete and have at most "
            f"{limit} bytes. Received: {len(found)} bytes without an end."
        )
    return found


def _json(message: Message) -> str:
    text = json_format.MessageToJson(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=1,
        ensure_ascii=False,
    )
    return text + "\n"


def _decode(tensor: tensor_pb2.TensorProto) -> np.ndarray:
    try:
        return tensors.decode(tensor)
    except ValueError as error:
        raise invalid(
            "Failed to write JSON value for tensor type: "
            f"{requests.dtype_name(tensor.dtype)}"
        ) from error


def _unescape(text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    return urllib.parse.unquote_to_bytes(data).decode("utf-8", "replace")


def _raw_path(environ: WSGIEnvironment) -> str:
    target: str = environ.get("REQUEST_URI") or environ["PATH_INFO"]
    if not target.startswith("/"):
        # Absolute form, as callers behind a proxy send it.
        target = urllib.parse.urlsplit(target).path or "/"
    return target.partition("?")[0].partition("#")[0]
