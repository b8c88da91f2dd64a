"""The offline side: from interaction logs to published versions."""

import os

# TensorFlow's start-up notices; set before anything imports it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Selects Keras 2, which must happen before TensorFlow is imported anywhere.
import models  # noqa: E402, F401
