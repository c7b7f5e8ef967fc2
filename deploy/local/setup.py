"""Sets the embedded stack up in build/ (`python3 -m local.setup run`, or `test`); once done it takes no time.

Needs nothing but Python. Read by old Pythons too, which are told that they are too old.
"""

from __future__ import annotations

import sys

from local.machine import find_unfitness


def main(purpose: str) -> str:
    """Set up for a purpose; returns what keeps it from being done, or nothing."""
    unfitness = find_unfitness()
    if unfitness:
        return unfitness
    # After the check: these are for the Pythons that are supported.
    from local.errors import StackError  # noqa: PLC0415
    from local.installation import Purpose, install  # noqa: PLC0415

    try:
        install(Purpose(purpose))
    except StackError as error:
        return str(error)
    except KeyboardInterrupt:
        return "Interrupted; the next run goes on where this one stopped."
    except OSError as error:
        return f"Set-up cannot use {error.filename}: {error.strerror}. Make room or mend it; build/ may be deleted."
    return ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) or 0)
