"""Packages that not everybody needs: what is said where one is missing.

Use: `raise missing("the engine 'ray'", "ray")`.
"""

from __future__ import annotations


def missing(what: str, extra: str) -> ImportError:
    """The error of something that needs an extra of this package ("ray", "serve,ui"), with the line to type."""
    return ImportError(
        f'{what}: packages are not installed — expected those of the extra {extra} — pip install "faceshield[{extra}]"'
    )
