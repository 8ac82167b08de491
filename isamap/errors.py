"""Every failure a user can meet, with the exit code the shell sees.

    IsamapError                 1   a fault of isamap itself
    ├── PartialError            3   finished, but some tiles failed
    ├── CheckError              5   a check that was asked for failed
    ├── InputError             65   the data are bad
    ├── MissingInputError      66   the data are not there
    ├── RemoteError            69   a server refused for good
    ├── ModelError             70   model or checkpoint does not fit
    ├── StorageError           74   disk full, read-only, broken
    ├── BusyError              75   another run holds the product; try later
    └── ConfigError            78   bad configuration

Usage errors are click's (2); a clean stop by a signal is 128 + its number (130, 143).
Messages are one line: what was wrong, where, what to do.
"""

from typing import ClassVar


class IsamapError(Exception):
    """Base of every error isamap raises on purpose."""

    exit_code: ClassVar[int] = 1


class PartialError(IsamapError):
    """The run finished, but some tiles failed; the report names them."""

    exit_code = 3


class CheckError(IsamapError):
    """A check that was asked for failed."""

    exit_code = 5


class InputError(IsamapError):
    """Input data are damaged, of the wrong kind, or contradict each other."""

    exit_code = 65


class MissingInputError(IsamapError):
    """Input data that were named or implied are not there."""

    exit_code = 66


class RemoteError(IsamapError):
    """A server refused for good."""

    exit_code = 69


class ModelError(IsamapError):
    """Weights, card and data do not fit each other, or the device cannot run the model."""

    exit_code = 70


class StorageError(IsamapError):
    """The disk is full, read-only or broken."""

    exit_code = 74


class BusyError(IsamapError):
    """Another run holds the product; cron may simply try again later."""

    exit_code = 75


class ConfigError(IsamapError):
    """The configuration is wrong."""

    exit_code = 78
