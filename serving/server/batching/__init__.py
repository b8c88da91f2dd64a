"""Joins requests of one shape into one run.

Enters: inputs of several callers. Leaves: to each of them its rows of the
outputs. May import `cpus`, `runtime`, `telemetry`, `releases` and `wire`.
"""
