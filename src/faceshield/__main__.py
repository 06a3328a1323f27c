"""Makes `python -m faceshield` the same as `faceshield`."""

from __future__ import annotations

from faceshield.cli import main

if __name__ == "__main__":
    main()
