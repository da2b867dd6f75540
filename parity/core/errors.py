"""Errors a user can act on, and the exit status each leads to."""


class ParityError(Exception):
    """The run could not be made (exit status 2): the message names the thing and the fix."""


class BundleError(ParityError):
    """A bundle on disk is missing, damaged, or was made by another version."""


class CaseError(ParityError):
    """A case, or a file it names, cannot be used."""
