"""A server with the REST API, and how tests ask it."""

import contextlib
import http.client
import json

import tests.support.serving_calls as calls
import tests.support.serving_models as models
from tests.support import ports

PREDICT = "/v1/models/affine:predict"


@contextlib.contextmanager
def running(base):
    """Serves version 3 of `affine` and `examples`; gives the server."""
    for name in ("affine", "examples"):
        models.publish(models.originals()[name], base / name, 3)
    config = base / "models.config"
    config.write_text(
        str(
            calls.reload_request(
                *(
                    {"name": name, "base_path": str(base / name)}
                    for name in ("affine", "examples")
                )
            ).config
        )
    )
    monitoring = base / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    port = ports.free_port()
    with calls.running(
        f"--model_config_file={config}",
        f"--monitoring_config_file={monitoring}",
        f"--rest_api_port={port}",
        "--rest_api_enable_cors_support",
    ) as (found, call):
        found.rest_port = port
        # A label needs a version that answers already.
        reload = calls.reload_request(
            *(
                {
                    "name": name,
                    "base_path": str(base / name),
                    "version_labels": {"stable": 3},
                }
                for name in ("affine", "examples")
            )
        )
        call(reload)
        yield found


@contextlib.contextmanager
def asking(port):
    """Gives a function that sends one request over a kept connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def send(path, body=None, method=None, headers=None):
        """Status and text; objects are sent as JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        method = method or ("GET" if body is None else "POST")
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        send.headers = answer.headers
        return answer.status, answer.read().decode("utf-8", "surrogateescape")

    yield send
    connection.close()
