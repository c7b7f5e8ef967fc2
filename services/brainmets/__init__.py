"""Segments brain metastases in MRI. Research use only."""

__version__ = "0.1.0"
