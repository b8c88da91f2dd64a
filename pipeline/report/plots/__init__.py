"""The pictures of a report: a module a kind, all drawn by `drawing`."""
