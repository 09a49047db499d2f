"""Settings from the environment and from flags."""

import pytest

from longva_demo.cli.parser import build_parser
from longva_demo.errors import DemoError
from longva_demo.settings import SETTINGS, Settings


def test_flags_take_precedence() -> None:
    environment = {"LONGVA_MODEL": "tiny", "LONGVA_PORT": "8000", "HOME": "/"}
    settings = Settings.from_environment(environment, port=9000, host=None)
    assert (settings.model, settings.port, settings.host) == ("tiny", 9000, "127.0.0.1")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"LONGVA_MODLE": "tiny"}, "LONGVA_MODLE is not a known variable; use one of .*LONGVA_MODEL"),
        ({"LONGVA_PORT": "http"}, "'http' is not a valid LONGVA_PORT; use a whole number"),
        ({"LONGVA_QUANT": "3bit"}, "'3bit' is not a valid quant; use one of auto, none, 8bit, 4bit"),
        ({"LONGVA_NUM_FRAMES": "0"}, "0 is not a valid num_frames; use a number above 0"),
        ({"LONGVA_MAX_VIDEO_SECONDS": "an hour"}, "'an hour' is not a valid LONGVA_MAX_VIDEO_SECONDS; use a number"),
        ({"LONGVA_PORT": "99999"}, "99999 is not a valid port; use a number from 1 to 65535"),
    ],
)
def test_a_bad_variable_is_named(environment: dict[str, str], words: str) -> None:
    with pytest.raises(DemoError, match=words):
        Settings.from_environment(environment)


def test_each_flag_has_the_default_and_choices_of_its_setting() -> None:
    parser = build_parser()
    for arguments in (["serve"], ["ask", "clip.mp4", "What?"], ["frames", "clip.mp4"], ["niah"], ["doctor"]):
        options = vars(parser.parse_args(arguments))
        given = {name: value for name, value in options.items() if name in SETTINGS}
        assert given
        assert set(given.values()) == {None}, "a flag that is left out leaves the choice to the environment"
    with pytest.raises(SystemExit):
        parser.parse_args(["serve", "--quant", "3bit"])
    assert parser.parse_args(["ask", "clip.mp4", "What?", "--frames", "8"]).num_frames == 8


def test_the_password_is_not_printed() -> None:
    assert "secret" not in repr(Settings(password="secret"))
