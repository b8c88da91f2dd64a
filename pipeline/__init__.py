"""The offline side: from interaction logs to published versions."""

import os

# TensorFlow's start-up notices; set before anything imports it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
