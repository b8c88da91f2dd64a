"""The HTTP port: JSON in and out, probes.

Enters: HTTP requests. Leaves: TensorFlow Serving's JSON, the metrics page. May
import the servicer, `health`, `telemetry`, `releases` and `wire`.
"""
