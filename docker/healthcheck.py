"""Health check of the container: succeeds when the service is ready."""

import os
import sys
import urllib.error
import urllib.request

PORT = os.environ.get("CUTOUT_WEB__PORT", "8000")

try:
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=2) as response:
        sys.exit(0 if response.status == 200 else 1)
except urllib.error.URLError as error:
    sys.exit(f"not ready: {error}")
