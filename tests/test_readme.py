"""What the README and the help text tell people to type composes."""

import re
import shlex

import pytest

from tests.conftest import composed
from unlearning.config.guide import guide
from unlearning.config.schema import ROOT

TEXTS = (ROOT / "README.md").read_text().replace("\\\n", " "), guide()
NOT_ONE_RUN = ("-m ", "my_method", "--config-dir")  # sweeps, and what a reader is to write first
FOUND = sorted({line for text in TEXTS for line in re.findall(r"^ *python run.py( .*=.*)$", text, re.MULTILINE)})

COMMANDS = [command for command in FOUND if not any(part in command for part in NOT_ONE_RUN)]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_composes(command: str) -> None:
    words = shlex.split(command, comments=True)
    overrides = [w for w in words if re.match(r"[\w.]+=", w)]
    composed(*(o.replace("$HOME", "/home/me") for o in overrides))


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 10
