"""Which versions are loaded, and how they come and go.

Enters: model configs and what lies below their base paths. Leaves: versions
that answer. May import `answers`, `runtime`, `telemetry`, `releases`, `wire`.
"""
