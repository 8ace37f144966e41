"""``cutout keys new``, and the check that a server on a public address has keys."""

import tomllib
from ipaddress import ip_address
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.commands import cutout
from app.cli.serve import _check_exposure
from app.engine.capacity.quota import Rates
from app.settings import Settings
from app.web.api_keys import ApiKeys


def test_a_new_key_matches_its_printed_table(tmp_path: Path) -> None:
    result = CliRunner().invoke(cutout, ["keys", "new", "web.shop"])
    key, _, table = result.stdout.partition("\n")
    file = tmp_path / "keys.toml"
    file.write_text(table)
    found = ApiKeys(file, None, Rates()).find(key.encode())

    assert result.exit_code == 0
    assert found is not None
    assert found.name == "web.shop"
    assert key not in table
    assert list(tomllib.loads(table)["keys"]) == ["web.shop"]


@pytest.mark.parametrize("name", ["", "a b", 'a"', "é", "x" * 65])
def test_an_invalid_key_name_is_refused(name: str) -> None:
    assert CliRunner().invoke(cutout, ["keys", "new", name]).exit_code != 0


@pytest.mark.parametrize(
    ("host", "access", "is_allowed"),
    [
        ("127.0.0.1", {}, True),
        ("::1", {}, True),
        ("0.0.0.0", {}, False),
        ("::", {}, False),
        ("192.0.2.1", {"key_hashes": ""}, False),
        ("0.0.0.0", {"open": True}, True),
        ("0.0.0.0", {"key_hashes": "ab" * 32}, True),
        ("0.0.0.0", {"keys_file": Path("keys.toml")}, True),
    ],
)
def test_a_public_address_requires_configured_access(
    host: str, access: dict[str, object], *, is_allowed: bool
) -> None:
    settings = Settings(web={"host": ip_address(host)}, access=access)
    if is_allowed:
        _check_exposure(settings)
        return
    with pytest.raises(ValueError, match="CUTOUT_ACCESS__KEYS_FILE"):
        _check_exposure(settings)
