"""The errors a user may cause: each is one line that says what is wrong, what was expected and how to mend it."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where a disk, a quota or a file has no room left."""


_LISTED = 20
"""Faults that a message lists at most."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip().splitlines() or [""])[0]


class MedzooError(Exception):
    """Root of all errors that the command line shows as one line, with `exit_code`."""

    exit_code = 2


class ConfigError(MedzooError):
    """A wrong option, value or configuration file."""


class PluginError(MedzooError):
    """A plug-in that is unknown, ambiguous or fails to import."""


class CheckpointError(MedzooError):
    """A checkpoint that is unsafe, damaged or made for something else."""


class TrainingError(MedzooError):
    """A training run that cannot go on, such as one with a loss that is not finite."""

    exit_code = 1


class DataError(MedzooError):
    """A file or folder that cannot be used as it is.

    Args:
        path: The file or folder at fault.
        problem: What is wrong with it, as a clause ("is truncated", "has 4 channels, expected 1 or 3").
        cure: What to do about it, as an imperative ("export it again as PNG").
    """

    def __init__(self, path: str | os.PathLike[str], problem: str, cure: str = "") -> None:
        self.path, self.problem, self.cure = os.fspath(path), problem, cure
        super().__init__(f"{self.path}: {problem}" + (f"; {cure}" if cure else ""))

    def __reduce__(self) -> tuple[type[DataError], tuple[str, str, str]]:
        # Raised inside a loader worker it travels through pickle, which would call __init__ with the finished message.
        return DataError, (self.path, self.problem, self.cure)


class DataErrors(MedzooError):  # noqa: N818 - the plural of DataError
    """Several files that cannot be used; the message lists the first 20, a line each."""

    def __init__(self, errors: Sequence[DataError]) -> None:
        self.errors = tuple(errors)
        rest = f"\n… and {len(errors) - _LISTED} more" if len(errors) > _LISTED else ""
        super().__init__(f"{len(errors)} faults in the data:\n" + "\n".join(map(str, errors[:_LISTED])) + rest)

    def __reduce__(self) -> tuple[type[DataErrors], tuple[tuple[DataError, ...]]]:
        return DataErrors, (self.errors,)


def raise_all(errors: Sequence[DataError]) -> None:
    """Raise the one error, or all of them as one; do nothing without any."""
    if errors:
        raise errors[0] if len(errors) == 1 else DataErrors(errors)


class DiskError(MedzooError):
    """A file that cannot be written any further, such as on a full disk."""

    exit_code = 1


class Interrupted(BaseException):
    """A signal asked the run to stop; it was saved first.

    No `Exception`: a reader that calls a file damaged where a library fails must not take the signal for that.

    Args:
        signum: Number of the signal; the exit code is 128 more.
    """

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.signum, self.exit_code = signum, 128 + signum


def check_choice(option: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse a value of an option that is none of those allowed.

    Args:
        option: Name of the option without dashes, such as `model.stage`.
        value: What was given.
        allowed: The names to choose from.

    Raises:
        ConfigError: The value is another.
    """
    if value not in allowed:
        raise ConfigError(f"--{option}: expected {', '.join(allowed)}, got {str(value)[:100]}")
