import io
import sys

import pytest

from app.cli.streams import prepare_streams


def test_what_the_encoding_of_the_output_lacks_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    prepare_streams()
    sys.stdout.write("a × b █\n")
    sys.stdout.flush()

    assert "a × b ?\n".encode("latin-1") == written.getvalue()
