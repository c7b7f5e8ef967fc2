"""Owns the one error that the stack tells a person: a sentence that says what is wrong and what to do."""


class StackError(Exception):
    """The stack cannot be set up, started or used; the message is for the person at the terminal."""
