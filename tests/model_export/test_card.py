from pathlib import Path

from app.engine.models.manifest import Manifest, WeightsOrigin
from model_export.card import write_card

MANIFEST = Manifest(
    name="tiny",
    architecture="tiny-net",
    sha256="ab" * 32,
    size_bytes=1_234_567,
    opset=18,
    input_size_px=320,
    output="raw sigmoid",
    precision="float32",
    parameters=1_131_181,
    weights=WeightsOrigin(
        source="a release", sha256="cd" * 32, license="Apache-2.0", authors="Ada and Grace"
    ),
    quality={"parity_served_max_abs": 1.5e-13},
)


def test_the_card_has_source_licence_hashes_contract_and_figures(tmp_path: Path) -> None:
    card = write_card(MANIFEST, tmp_path).read_text(encoding="utf-8")

    for text in (
        "a release",
        "Apache-2.0",
        "Ada and Grace",
        "ab" * 32,
        "cd" * 32,
        "1,131,181",
        "uint8 (batch, 320, 320, 3)",
        "| `parity_served_max_abs` | 1.5e-13 |",
    ):
        assert text in card
