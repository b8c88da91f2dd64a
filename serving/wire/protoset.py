"""The messages as a file for grpcurl: `python -m serving.wire.protoset`.

The server has no reflection, as TensorFlow Serving has none, so a program that
knows no `.proto` files needs the descriptors of what it sends.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import descriptor, descriptor_pb2

from serving.wire import serving_pb2

FILE = "predict.protoset"
SERVICE = "PredictionService"


def protoset() -> bytes:
    """Descriptors of `PredictionService/Predict`, a `FileDescriptorSet`.

    The messages are ours, whose bytes are TensorFlow Serving's, and the
    service has TensorFlow Serving's name.
    """
    found = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()

    def add(file: descriptor.FileDescriptor) -> None:
        if file.name in seen:
            return
        seen.add(file.name)
        for other in file.dependencies:
            add(other)
        file.CopyToProto(found.file.add())

    add(serving_pb2.DESCRIPTOR)
    service = found.file.add(
        name="prediction_service.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[serving_pb2.DESCRIPTOR.name],
    )
    service.service.add(name=SERVICE).method.add(
        name="Predict",
        input_type=f".{serving_pb2.PredictRequest.DESCRIPTOR.full_name}",
        output_type=f".{serving_pb2.PredictResponse.DESCRIPTOR.full_name}",
    )
    return found.SerializeToString()


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the file; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.wire.protoset",
        description="Writes the messages for grpcurl's -protoset.",
    )
    parser.add_argument("output", type=Path, help=f"such as {FILE}")
    path = parser.parse_args(arguments).output
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(protoset())
    except OSError as error:
        sys.stderr.write(f"files: {error}. Name another output.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
