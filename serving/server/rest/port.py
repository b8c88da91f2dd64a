"""The HTTP port of the REST API and the metrics page.

Waitress speaks HTTP: it buffers slow callers, bounds bodies and hands
complete requests to its threads.
"""

import argparse
import logging
import socket
import threading
import time

import waitress

from serving.releases import config_text
from serving.server.health import Health
from serving.server.rest import channel
from serving.server.rest.api import Rest
from serving.server.rest.tasks import Dispatcher
from serving.server.servicer import Servicer
from serving.server.telemetry import events
from serving.wire import server_config_pb2

METRICS_PATH = "/monitoring/prometheus/metrics"
# JSON takes ten times its bytes once it is read.
_MAX_BODY_BYTES = 2**26
_MAX_HEADER_BYTES = 2**15
# Beyond this an answer would wait in a file.
_NEVER = 2**40


class RestServer:
    """An open HTTP port.

    Raises:
        OSError: If the port is taken.
        ServingError: If the monitoring config cannot be read.
    """

    def __init__(
        self, servicer: Servicer, options: argparse.Namespace, health: Health
    ) -> None:
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        max_body_bytes = min(options.max_request_bytes, _MAX_BODY_BYTES)
        application = Rest(
            servicer,
            options.rest_api_timeout_in_ms / 1000,
            _metrics_path(options.monitoring_config_file),
            options.rest_api_enable_cors_support,
            max_body_bytes,
            health,
        )
        self._dispatcher = Dispatcher(max(1, options.rest_api_num_threads))
        self._server = waitress.create_server(
            application,
            _dispatcher=self._dispatcher,
            host="0.0.0.0",
            port=options.rest_api_port,
            max_request_body_size=max_body_bytes,
            max_request_header_size=_MAX_HEADER_BYTES,
            inbuf_overflow=_NEVER,
            outbuf_overflow=_NEVER,
            # Beyond it threads would wait for callers that do not read.
            outbuf_high_watermark=_NEVER,
            # Our channel keeps below it; beyond it the port would close.
            connection_limit=channel.MAX_CONNECTIONS + 100,
            asyncore_use_poll=True,
            clear_untrusted_proxy_headers=True,
            ident=None,
        )
        self._server.channel_class = channel.Channel
        self.port = int(self._server.effective_port)
        self._thread = threading.Thread(
            target=self._run, name="rest", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        try:
            self._server.run()
        except OSError as error:
            # Closing the sockets under the loop is how it ends.
            events.info("rest_closed", reason=error)

    def drain(self, deadline: float) -> None:
        """Ends what is under way until `deadline`; refuses all but probes."""
        self._dispatcher.drain(deadline)

    def close(self, deadline: float) -> None:
        """Closes the port and all connections.

        Answers that are written may leave until `deadline`.
        """
        self._server.accepting = False
        self._dispatcher.close()
        # What the threads wrote leaves through the loop.
        end = min(deadline, time.monotonic() + 1.0)
        channels = self._server.active_channels
        while time.monotonic() < end and any(
            opened.total_outbufs_len for opened in list(channels.values())
        ):
            time.sleep(0.01)
        # The loop waits on the socket, which keeps it open to callers until
        # the wait ends: closed alone, it would still take connections.
        self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for opened in list(channels.values()):
            opened.handle_close()


def _metrics_path(path: str) -> str:
    if not path:
        return ""
    config = config_text.read(
        path, server_config_pb2.MonitoringConfig(), "--monitoring_config_file"
    )
    if not config.prometheus_config.enable:
        return ""
    return config.prometheus_config.path or METRICS_PATH
