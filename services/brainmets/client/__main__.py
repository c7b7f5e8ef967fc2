"""`python -m brainmets.client`: the `brainmets` command."""

from brainmets.command import main

if __name__ == "__main__":
    main()
