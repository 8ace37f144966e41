from pathlib import Path

import pytest

from app.errors import InvalidOption, UnknownOption
from app.options import CutoutOptions, MaskOptions
from app.options_parser import accepted_values, parse_options
from benchmarks.options import not_measured


def test_default_options_of_a_mask_give_the_published_map() -> None:
    options = parse_options(MaskOptions, {})

    assert (options.format, options.matting, options.size, options.threshold) == (
        "png",
        "none",
        "source",
        None,
    )


def test_texts_are_parsed_as_numbers() -> None:
    options = parse_options(MaskOptions, {"quality": "75", "threshold": "0.5"})

    assert (options.quality, options.threshold) == (75, 0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "gif"),
        ("quality", "0"),
        ("quality", "101"),
        ("quality", "high"),
        ("matting", "closed-form"),
        ("size", "full"),
        ("threshold", "1.5"),
        ("threshold", "nan"),
        ("model", "x" * 65),
        ("model", 7),
    ],
)
def test_the_error_of_an_invalid_value_has_the_option_and_the_accepted_values(
    name: str, value: object
) -> None:
    with pytest.raises(InvalidOption) as refusal:
        parse_options(MaskOptions, {name: value})

    assert refusal.value.name == name
    assert refusal.value.accepted == accepted_values(MaskOptions, name)


def test_the_error_of_an_unknown_option_names_it_and_the_known_ones() -> None:
    with pytest.raises(UnknownOption) as refusal:
        parse_options(CutoutOptions, {"matte": "fast"})

    assert refusal.value.facts()["name"] == "matte"
    assert "matting" in refusal.value.accepted


@pytest.mark.parametrize(
    ("text", "rgba"),
    [
        ("transparent", None),
        ("blur", None),
        ("#f80", (255, 136, 0, 255)),
        ("f80c", (255, 136, 0, 204)),
        ("#ff8800", (255, 136, 0, 255)),
        ("FF880080", (255, 136, 0, 128)),
        ("white", (255, 255, 255, 255)),
        ("RebeccaPurple", (102, 51, 153, 255)),
    ],
)
def test_a_background_is_a_colour(text: str, rgba: tuple[int, int, int, int] | None) -> None:
    assert parse_options(CutoutOptions, {"background": text}).background_rgba == rgba


@pytest.mark.parametrize(
    "text", ["", "#12", "#1234567", "#ff88008", "nocolour", "rgb(1,2,3)", "rgb(" + "9" * 1000]
)
def test_an_invalid_colour_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption) as refusal:
        parse_options(CutoutOptions, {"background": text})

    assert refusal.value.name == "background"


def test_a_jpeg_needs_a_background() -> None:
    with pytest.raises(InvalidOption) as refusal:
        parse_options(CutoutOptions, {"format": "jpeg"})

    assert refusal.value.name == "background"
    assert parse_options(CutoutOptions, {"format": "jpeg", "background": "white"}).format == "jpeg"


def test_a_zip_contains_only_a_transparent_cutout() -> None:
    with pytest.raises(InvalidOption) as conflict:
        parse_options(CutoutOptions, {"format": "zip", "background": "white"})
    with pytest.raises(InvalidOption) as refusal:
        parse_options(MaskOptions, {"format": "zip"})

    assert (conflict.value.name, refusal.value.name) == ("background", "format")
    assert refusal.value.accepted == "png, webp, jpeg, avif"
    assert parse_options(CutoutOptions, {"format": "zip"}).format == "zip"


def test_matting_at_network_size_is_a_conflict() -> None:
    with pytest.raises(InvalidOption) as refusal:
        parse_options(MaskOptions, {"matting": "fast", "size": "network"})

    assert refusal.value.name == "size"


@pytest.mark.parametrize("kind", [MaskOptions, CutoutOptions])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(
            ("true", True),
            ("True", True),
            ("1", True),
            ("on", True),
            ("YES", True),
            ("y", True),
            (" true", True),
        ),
        *(("false", False), ("FALSE", False), ("0", False), ("Off", False), ("no", False), ("f", False)),
        *((True, True), (False, False), (1, True), (0, False)),
    ],
)
def test_yes_and_no_are_accepted_as_text_and_json(
    kind: type[MaskOptions | CutoutOptions], text: object, expected: bool
) -> None:
    for typed in ((), ("require_foreground",)):
        assert expected is parse_options(kind, {"require_foreground": text}, typed=typed).require_foreground


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *(("PNG", "png"), ("image/png", "png"), ("Image/WebP", "webp"), ("WEBP", "webp"), ("avif", "avif")),
        *(("jpg", "jpeg"), ("JPG", "jpeg"), ("JPEG", "jpeg"), ("image/jpg", "jpeg"), ("image/jpeg", "jpeg")),
        *(("image/avif", "avif"), (" png ", "png")),
    ],
)
@pytest.mark.parametrize("kind", [MaskOptions, CutoutOptions])
def test_a_format_may_be_a_file_extension_or_a_media_type(
    kind: type[MaskOptions | CutoutOptions], text: str, name: str
) -> None:
    required = {} if kind is MaskOptions else {"background": "white"}

    assert parse_options(kind, {"format": text, **required}, typed=("format",)).format == name


@pytest.mark.parametrize("text", ["image/zip", "image/", "image/gif", "jfif2", "png;q=1", "imagepng"])
def test_an_unknown_format_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="png, webp, jpeg, avif"):
        parse_options(MaskOptions, {"format": text})


def test_zip_may_be_a_media_type_and_auto_in_capitals() -> None:
    assert parse_options(CutoutOptions, {"format": "application/zip"}).format == "zip"
    assert parse_options(CutoutOptions, {"format": "Auto"}).format == "auto"


@pytest.mark.parametrize("name", ["crop", "report_box"])
def test_every_truth_value_has_the_same_spellings(name: str) -> None:
    assert getattr(parse_options(CutoutOptions, {name: "on"}), name) is True
    assert getattr(parse_options(CutoutOptions, {name: 0}, typed=(name,)), name) is False


def test_the_error_of_an_invalid_value_lists_the_accepted_ones() -> None:
    for text in ("perhaps", "2", "onn", "", "1.0"):
        with pytest.raises(InvalidOption, match="true, false"):
            parse_options(MaskOptions, {"require_foreground": text})
    with pytest.raises(InvalidOption, match=r"number from 0 to 0\.1"):
        parse_options(MaskOptions, {"clean": "0.2"})


@pytest.mark.parametrize(
    ("name", "value", "is_accepted"),
    [
        ("require_foreground", True, True),
        ("require_foreground", 2, False),
        ("require_foreground", 1.0, False),
        ("require_foreground", None, False),
        ("require_foreground", "perhaps", False),
        ("quality", 80, True),
        ("quality", "80", False),
        ("quality", True, False),
        ("clean", 0, True),
        ("clean", 0.05, True),
        ("clean", "0.05", False),
        ("threshold", None, True),
        ("threshold", False, False),
        ("model", None, True),
        ("model", 7, False),
        ("format", None, False),
        ("format", ["png"], False),
    ],
)
def test_a_typed_value_must_have_the_type_of_its_option(name: str, value: object, is_accepted: bool) -> None:
    if is_accepted:
        assert getattr(parse_options(MaskOptions, {name: value}, typed={name}), name) == value
        return
    with pytest.raises(InvalidOption):
        parse_options(MaskOptions, {name: value}, typed={name})


def test_the_benchmark_measures_the_cost_of_every_option() -> None:
    assert not_measured() == []


@pytest.mark.parametrize("typed", [False, True])
def test_the_former_name_of_an_option_is_accepted(typed: bool) -> None:
    names = ("locates",) if typed else ()

    assert parse_options(CutoutOptions, {"locates": True if typed else "yes"}, typed=names).report_box
    with pytest.raises(InvalidOption):
        parse_options(CutoutOptions, {"locates": "perhaps"}, typed=names)


@pytest.mark.parametrize("name", sorted({*MaskOptions.model_fields, *CutoutOptions.model_fields}))
def test_the_page_of_the_api_names_every_option(name: str) -> None:
    table = (Path(__file__).parents[1] / "docs/api.md").read_text().partition("| Option | Endpoint |")[2]

    assert f"`{name}`" in table.partition("\n\n")[0]
