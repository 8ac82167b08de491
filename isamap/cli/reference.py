"""The command-line reference as Markdown: `python -m isamap.cli.reference > docs/cli.md`."""

import os

import click

from isamap.cli import cli

HEAD = """# Command line

Written by `make docs` from the program itself. Every option of a command also listens to the environment variable
`ISAMAP_<OPTION>` (`fetch --product` to `ISAMAP_FETCH_PRODUCT`) and, where it makes sense, to a key of `isamap.toml`; the
command line wins over the environment, the environment over the file, the file over the default.

An empty variable counts as not set; an empty word on the command line is refused (exit 2). Of options that may be repeated, a
variable holds several values: of `--input`, `--imagery`, `--image`, `--labels` and `--chips` with `:` between them, of all others
with blanks. A `--source` with a blank in its path goes on the command line or into `isamap.toml`.
"""


def reference() -> str:
    """The help of every command."""
    parts = [HEAD]
    root = click.Context(cli, info_name="isamap", terminal_width=100, **cli.context_settings)
    commands: dict[str, click.Command] = {"": cli, **cli.commands}
    order = list(commands)
    for name, command in list(commands.items()):
        if name and isinstance(command, click.Group):
            commands |= {f"{name} {part}": one for part, one in command.commands.items()}
    for name, command in sorted(commands.items(), key=lambda pair: order.index(pair[0].split(" ")[0])):
        title = f"isamap {name}".strip()
        context = (
            root if not name else click.Context(command, info_name=name, parent=root, terminal_width=100)
        )
        parts.append(f"\n## {title}\n\n```text\n{command.get_help(context)}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    for variable in [name for name in os.environ if name.startswith("ISAMAP_")]:
        del os.environ[variable]
    click.echo(reference(), nl=False)
