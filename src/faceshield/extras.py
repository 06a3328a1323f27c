"""Optional packages: the error raised when one is missing.

Use: `raise missing("the engine 'ray'", "ray")`.
"""

from __future__ import annotations


def missing(what: str, extra: str) -> ImportError:
    """The error for `what`, which needs an extra of this package ("ray", "serve,ui"); it names the command to install it."""
    return ImportError(
        f'{what}: packages are not installed — expected those of the extra {extra} — pip install "faceshield[{extra}]"'
    )
