"""Files of what was asked and answered: TensorFlow Serving's `PredictionLog`.

Enters: serialized records. Leaves: TFRecord files of bounded size, and what
stands in them. May import `serving.errors`.
"""
