"""`medzoo doctor`: versions, devices, backends, and plug-ins that fail to load."""

from __future__ import annotations

from medzoo.core.cli.flags import split_flags
from medzoo.core.cli.streams import say, show
from medzoo.core.errors import ConfigError
from medzoo.core.registry import broken, kinds, specs, unreadable


def run(args: list[str]) -> None:
    """Print the report.

    Raises:
        ConfigError: There are unexpected arguments, or a plug-in fails to load (after the report).
    """
    flags, rest = split_flags(args, {"--help", "-h"})
    if flags or rest:
        show("usage: medzoo doctor\n\nVersions, devices, and plug-ins that fail to load. Exit code 2 where one does.")
        if rest:
            raise ConfigError(f"medzoo doctor takes no arguments, got {' '.join(rest)}")
        return
    faults = 0
    for reason in unreadable():  # first: torch and Lightning may fail to import beside such a package
        faults += 1
        say(f"{'package':<11}BROKEN: {reason}")
    import torch

    from medzoo.core.runs.results import versions

    say("versions: " + "  ".join(f"{name} {number}" for name, number in versions().items()))
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    say(f"devices:  cpu ({torch.get_num_threads()} threads){''.join(f', {g}' for g in gpus)}")
    for kind in kinds():
        for spec in specs(kind):
            fault = None if spec.missing else broken(spec)
            faults += fault is not None
            say(f"{kind:<11}{spec.name:<20}{spec.missing or 'ok' if fault is None else 'BROKEN: ' + fault}")
    if faults:
        raise ConfigError(f"{faults} plug-in{'s' if faults > 1 else ''} failed to load, see above")
