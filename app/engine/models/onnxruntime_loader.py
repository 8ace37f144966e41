"""ONNX Runtime loader: imports ONNX Runtime with telemetry disabled.

Since version 1.29 the published wheels report each process and session to Microsoft, and store an identifier
on the disk. The library reads the setting once, when it is imported, so this module alone imports it (ruff's
banned imports enforce this).
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # an import with a side effect: after the next line it is too late

import onnxruntime as onnxruntime  # noqa: TID251 - re-exported for all other modules
