"""Runtime: ONNX Runtime, which says nothing of us to anybody.

Since its version 1.29 the published wheels report each process and session to their maker, and keep an
identifier on the disk. That is decided when the library is loaded and never again, so it is loaded here alone
(ruff's banned imports see to it).
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # the one effect of an import: afterwards would be too late

import onnxruntime as onnxruntime  # noqa: TID251 - the name is what this module is for
