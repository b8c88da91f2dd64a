"""Distils both stages into a student and writes it for devices.

Enters: the exported models' answers. Leaves: .tflite bundles. May import
`export` and what that may.
"""
