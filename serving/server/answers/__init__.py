"""One request to one loaded model, by TensorFlow Serving's rules.

Enters: a request message. Leaves: the response message, or an error with its
code. May import `runtime` and `wire`.
"""
