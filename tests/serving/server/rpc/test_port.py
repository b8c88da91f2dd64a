"""What callers of the gRPC port can take from the process."""

import contextlib
import resource
import socket
from unittest import mock

import grpc
import pytest

from serving.server import flags
from serving.server.rpc import port as transport

# HTTP/2's preface and an empty SETTINGS frame: a connection, and no call.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"


def _is_open(caller):
    """Whether the server said hello, as it does to those it lets in."""
    try:
        return bool(caller.recv(1))
    except OSError:
        return False


@pytest.mark.parametrize(
    ("arguments", "most"),
    [("", 20), ("grpc.max_allowed_incoming_connections=7", 7)],
)
def test_idle_connections_leave_files_for_the_rest(
    monkeypatch, arguments, most
):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (80, 80))
    options = flags.parse([f"--grpc_channel_arguments={arguments}"])
    server = transport.Transport(mock.Mock(), options)
    port = server.listen("127.0.0.1:0")
    server.start()
    with (
        contextlib.ExitStack() as stack,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stack.callback(server.close)
        stack.callback(server.drain, 0.0)
        grpc.channel_ready_future(channel).result(10)
        callers = []
        for _ in range(40):
            caller = stack.enter_context(
                socket.create_connection(("127.0.0.1", port), 5)
            )
            caller.sendall(_HELLO)
            callers.append(caller)
        # The channel's own is one of them.
        assert sum(map(_is_open, callers)) == most - 1
        # Whoever was there is still answered.
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary("/no.Service/Method")(b"", timeout=5)
        assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
