"""Measures the bytes that ship beside strong baselines.

Enters: exported bundles. Leaves: evaluation.json. May import `ondevice`,
`export` and what they may.
"""
