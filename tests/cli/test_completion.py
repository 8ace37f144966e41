"""Shell completion, as a shell asks for it: the command line in variables, the completions on stdout."""

import pytest

from tests.cli.conftest import Command


def completed(command: Command, line: str) -> list[str]:
    result = command(
        prog_name="cutout",
        _CUTOUT_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(line.split(" ")) - 1),
    )
    return result.stdout.split()


def test_commands_are_completed(command: Command) -> None:
    assert {"serve", "remove", "doctor"} <= set(completed(command, "cutout "))


def test_options_of_the_api_are_completed(command: Command) -> None:
    assert ["--matting"] == completed(command, "cutout remove --mat")
    assert ["--mask"] == completed(command, "cutout remove --mas")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cutout remove --matting ", ["fast", "hq", "none"]),
        ("cutout remove --format we", ["webp"]),
        ("cutout remove --channels a", ["auto", "alpha"]),
    ],
)
def test_values_of_an_option_are_completed(command: Command, line: str, expected: list[str]) -> None:
    assert expected == completed(command, line)


def test_a_shell_gets_a_script_that_asks_for_completions(command: Command) -> None:
    script = command(_CUTOUT_COMPLETE="source_zsh").stdout

    assert "_CUTOUT_COMPLETE=complete_zsh" in script
    assert "compdef _cutout_completion cutout" in script
    assert "--install-completion" in command("--help").stdout
