"""`python -m brainmets.client` and the `brainmets` command."""

from brainmets.client.commands import app


def main() -> None:
    """Run the command line."""
    app(prog_name="brainmets")


if __name__ == "__main__":
    main()
