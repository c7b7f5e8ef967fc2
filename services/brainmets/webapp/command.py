"""Owns `brainmets app`: Streamlit serving our page until Ctrl-C. The client finds it by its entry point."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import streamlit  # noqa: F401 -- without the extra, this fails, and the client says what to install

from brainmets.client.service_options import Service

PAGE = Path(__file__).with_name("page.py")
# MiB; a service's own bound, unless it is set otherwise.
_MAX_UPLOAD = 1 << 10


def app(service: Service, *, listen: str) -> NoReturn:
    """Become Streamlit, which serves the page.

    Args:
        service: The service to call.
        listen: host:port to listen on.
    """
    with service.client():
        pass  # A certificate that cannot be used is told here and now.
    words = streamlit_words(service, listen=listen)
    os.execv(words[0], words)  # noqa: S606 -- our own interpreter


def streamlit_words(service: Service, *, listen: str) -> list[str]:
    """Return the command line that serves the page."""
    host, _, port = listen.rpartition(":")
    settings = {
        "server.address": host.strip("[]"),
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.maxUploadSize": str(_MAX_UPLOAD),
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        # What went wrong on this machine is for its terminal.
        "client.showErrorDetails": "none",
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    told = json.dumps(asdict(service), default=str)
    return [sys.executable, "-m", "streamlit", "run", str(PAGE), *options, "--", told]
