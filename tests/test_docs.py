import os
import re

import click
import pytest

from isamap.cli import cli
from isamap.errors import IsamapError

COMMANDS = {"": cli, **cli.commands}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    for name in [name for name in os.environ if name.startswith("ISAMAP_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def page(pytestconfig):
    return (pytestconfig.rootpath / "docs" / "cli.md").read_text(encoding="utf-8")


def test_the_reference_is_what_the_program_says(page):
    from isamap.cli.reference import reference

    assert page == reference(), "run `make docs`"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(page, name):
    command = COMMANDS[name]
    assert f"\n## {f'isamap {name}'.strip()}\n" in page
    section = page.split(f"\n## {f'isamap {name}'.strip()}\n")[1].split("\n## ")[0]
    assert (command.help or "").strip().endswith((".", ")")), "a command's help is a sentence"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.name} has no help"
            for spelling in (*parameter.opts, *parameter.secondary_opts):
                assert re.search(rf"(^|[\s,/]){re.escape(spelling)}\b", section), f"{name} {spelling}"


def test_every_exit_code_is_in_the_help():
    def codes(kind):
        return {kind.exit_code}.union(*(codes(part) for part in kind.__subclasses__()))

    assert codes(IsamapError) <= {int(code) for code in re.findall(r"\b\d+\b", cli.epilog)}


def test_options_of_one_name_are_spelled_and_explained_alike():
    seen = {}
    for command in cli.commands.values():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                seen.setdefault(parameter.opts[-1], set()).add((parameter.name, tuple(parameter.opts)))
    assert all(len(spellings) == 1 for spellings in seen.values())


def test_every_option_listens_to_the_environment():
    for command in cli.commands.values():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert str(parameter.envvar).startswith("ISAMAP_"), parameter.name
