"""Asks a server as grpcurl does, by nothing but a file of descriptors."""

from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format
from google.protobuf.message_factory import GetMessageClass


def ask(protoset: bytes, data: str, target: str, method: str) -> Any:
    """The answer to JSON, a message of the file's.

    Args:
        protoset: The file's content.
        data: Of grpcurl's -d.
        target: The server, host:port.
        method: Such as "package.Service/Method".
    """
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(protoset).file:
        pool.Add(file)
    service, _, name = method.partition("/")
    found = pool.FindServiceByName(service).FindMethodByName(name)
    request = json_format.Parse(data, GetMessageClass(found.input_type)())
    with grpc.insecure_channel(target) as opened:
        call = opened.unary_unary(
            f"/{method}",
            lambda message: message.SerializeToString(),
            GetMessageClass(found.output_type).FromString,
        )
        return call(request, timeout=5)
