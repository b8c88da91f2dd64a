"""The HTTP port: JSON in and out, probes."""
