"""One request to one model, by TensorFlow Serving's rules."""
