"""The one exception for what a user did, or what their machine ran out of."""

from unicodedata import category


def first_line(error: BaseException) -> str:
    """What an exception says, in one line; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def printable(text: str) -> str:
    """Text for a terminal: what would steer it (escape sequences, control and direction marks) is shown, not sent."""
    if text.isprintable():
        return text
    return "".join(
        each if each in "\n\t " or category(each)[0] in "LMNPS" or category(each) == "Zs" else ascii(each)[1:-1]
        for each in text
    )


class UserError(Exception):
    """One sentence with the cause, the place and the way out.

    The command line prints it without a traceback and exits with code 2; library users catch it as they
    would a ValueError. Whoever raises it has left nothing half-written.
    """
