"""The one exception for what a user did, or what their machine ran out of."""


def first_line(error: BaseException) -> str:
    """What an exception says, in one line; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class UserError(Exception):
    """One sentence with the cause, the place and the way out.

    The command line prints it without a traceback and exits with code 2; library users catch it as they
    would a ValueError. Whoever raises it has left nothing half-written.
    """
