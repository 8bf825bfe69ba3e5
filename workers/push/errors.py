"""What can end or interrupt the push worker."""

from __future__ import annotations


class PushError(Exception):
    """The worker must not go on; the message says what is wrong and what to do. The process exits with code 1."""


class FencedError(PushError):
    """Another process owns what this one believed to own. Nothing was written; a supervisor may restart it."""


class AbortedError(Exception):
    """A transaction did not happen. Memory may be wrong: fold the journal again, then decide again."""


class OutOfStepError(Exception):
    """Redis is not where it was left: somebody else wrote, or it was put back. Fold the journal again."""
