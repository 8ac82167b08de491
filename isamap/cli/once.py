"""Options that stand once on a command line."""

import click


class OnceEach(click.Command):
    """A command whose options take one value each unless they say otherwise: a second one is refused, not the last kept."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what the user wrote, once every option stands there once."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter in order:
            once = isinstance(parameter, click.Option) and not (
                parameter.multiple or parameter.is_flag or parameter.count
            )
            if once and order.count(parameter) > 1:
                raise click.UsageError(
                    f"{max(parameter.opts, key=len)} is given twice, and takes one value", ctx
                )
        return super().parse_args(ctx, args)
