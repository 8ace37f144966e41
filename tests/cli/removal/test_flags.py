import dataclasses
import inspect
from pathlib import Path

from app.cli.removal.flags import OPTIONS, PARTS, choices_in, choices_of, option_flag, part_flag
from app.cli.remove import remove
from app.options import CutoutOptions, MaskOptions
from app.pipeline.values import CutoutRequest
from app.web.request.envelope import BACKDROP_FIELD

DOCS = Path(__file__).parents[3] / "docs" / "command.md"
FIELD_OF = {"backdrop": BACKDROP_FIELD}
"""The fields of the API that have another name in the pipeline."""


def test_every_option_of_the_api_is_a_flag() -> None:
    keywords = set(inspect.signature(remove).parameters)

    assert {*MaskOptions.model_fields, *CutoutOptions.model_fields} <= keywords


def test_every_file_of_a_request_is_a_flag() -> None:
    """A new field of ``CutoutRequest`` must be described in ``PARTS``."""
    fields = {field.name for field in dataclasses.fields(CutoutRequest)} - {"picture", "options"}

    assert set(PARTS) == {FIELD_OF.get(name, name) for name in fields}


def test_every_flag_is_in_the_documentation() -> None:
    text = DOCS.read_text(encoding="utf-8")
    flags = [*map(option_flag, OPTIONS), *map(part_flag, PARTS)]

    assert [] == [flag for flag in flags if f"`{flag}`" not in text]


def test_a_file_whose_field_is_also_an_option_has_its_own_flag() -> None:
    assert ("--background-image", "--mask") == (part_flag("background"), part_flag("mask"))


def test_choices_are_texts_as_in_a_form() -> None:
    chosen = {"crop": True, "quality": "80", "background": "white", "matting": None}
    choices = choices_of({**chosen, "background_image": Path("b.jpg")})

    assert {"crop": "true", "quality": "80", "background": "white"} == choices.options
    assert {"background": Path("b.jpg")} == choices.parts


def test_options_with_a_list_of_values_offer_it() -> None:
    assert ("fast", "hq", "none") == choices_in(OPTIONS["matting"])
    assert () == choices_in(OPTIONS["background"])
