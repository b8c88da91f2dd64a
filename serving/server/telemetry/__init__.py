"""What the server says of itself.

Enters: events and observations. Leaves: log lines, a page for Prometheus. May
import nothing of `serving`.
"""
