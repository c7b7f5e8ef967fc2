"""The example of docs/how-to/rest-and-app.md runs as printed."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from gateway_bench import study_bytes

PAGE = Path(__file__).parents[2] / "docs/how-to/rest-and-app.md"


@pytest.mark.usefixtures("bench")
async def test_the_example_runs_as_printed(http: httpx.AsyncClient, tmp_path: Path) -> None:
    """But for the address; it ends with a mask."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    for sequence in ("t1c", "t2f"):
        (tmp_path / f"study-{sequence}.nii.gz").write_bytes(study_bytes())
    (example,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    script = example.replace("http://127.0.0.1:8080", str(http.base_url).rstrip("/"))
    done = await asyncio.to_thread(
        subprocess.run, ["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert '"state":"succeeded"' in done.stdout.replace(" ", "")
    assert (tmp_path / "mask.nii.gz").read_bytes().startswith(b"\x1f\x8b")
