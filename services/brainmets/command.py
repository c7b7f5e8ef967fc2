"""Owns the first moments of the `brainmets` command: Ctrl-C ends it without a word while nothing can be said yet."""

import signal


def main() -> None:
    """Run the command line."""
    answers = signal.getsignal(signal.SIGINT)
    # Unless whoever started it, a shell's background job for one, wants Ctrl-C to be ignored.
    if answers is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A fifth of a second, in which Python would answer with the line that it happens to be in.
    from brainmets.client.commands import app  # noqa: PLC0415

    signal.signal(signal.SIGINT, answers)
    app(prog_name="brainmets")
