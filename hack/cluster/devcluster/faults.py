"""The errors which end a command of the tool with one line for the user."""


class ClusterError(Exception):
    """Something that the user can read in one line; the tool prints it and exits with status 1."""


class PreconditionUnmet(ClusterError):
    """The machine lacks something; the message says what to do about it."""


class CommandFailed(ClusterError):
    """A program ended with a status other than zero."""


class DeadlinePassed(ClusterError):
    """A condition did not come true in its time."""
