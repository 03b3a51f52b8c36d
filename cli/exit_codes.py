"""What the exit codes mean; scripts depend on them, so a number is never given a new meaning."""

from enum import IntEnum

from shared.domain.run import Status


class Exit(IntEnum):
    """0 to 2 concern the command itself, 10 and up the end of the run that `watch` followed."""

    OK = 0
    REFUSED = 1  # the API answered with an error, or the input cannot be used
    UNREACHABLE = 2  # nothing answers at the URL; also the code of a wrong option
    REJECTED = 10
    DECLINED = 11
    FAILED = 12
    CANCELLED = 13
    ROLLED_BACK = 14
    DUPLICATE = 15
    INTERRUPTED = 130


class InputError(Exception):
    """A file or option cannot be used; the message says where and what to do. The command ends with `REFUSED`."""


EXIT_BY_STATUS = {Status[one.name]: one for one in Exit if one >= Exit.REJECTED and one is not Exit.INTERRUPTED}
EXIT_BY_STATUS[Status.DEPLOYED] = Exit.OK

EXIT_HELP = (
    "Exit codes: 0 deployed, 10 rejected (the data), 11 declined (the gate or a person), 12 failed, 13 cancelled, "
    "14 rolled back, 15 duplicate, 1 the API refused, 2 not reachable or wrong usage, 130 interrupted."
)
