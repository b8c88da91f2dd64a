"""What was asked and shown, as servers logged it: replayed, and followed up.

Enters: files of `serving.prediction_log`. Leaves: how a new version's answers
differ from the live one's, and what users took of what they were shown. Asks
models as the embedded server does, with its code.
"""
