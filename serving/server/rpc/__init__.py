"""The gRPC port: handlers, credentials.

Enters: protobuf messages. Leaves: the servicer's answers, status codes. May
import the servicer, `telemetry`, `releases` and `wire`.
"""
