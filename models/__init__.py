"""Keras code of the recommender: knows tensors, not files.

TensorFlow Recommenders needs Keras 2. TensorFlow reads the choice from the
environment the first time `tf.keras` is touched, so it is made here, before
any module of this package imports TensorFlow.
"""

import os
import sys

if os.environ.setdefault("TF_USE_LEGACY_KERAS", "1") != "1":
    raise ImportError(
        "`TF_USE_LEGACY_KERAS` must be 1: TensorFlow Recommenders works with "
        f"Keras 2. Received: {os.environ['TF_USE_LEGACY_KERAS']!r} (from the "
        "environment). Unset it."
    )
if "keras" in sys.modules and "tf_keras" not in sys.modules:
    raise ImportError(
        "Keras 3 was imported before `models`, so Keras 2 can no longer be "
        "selected. Import `models` first, or set TF_USE_LEGACY_KERAS=1 in the "
        "environment."
    )
