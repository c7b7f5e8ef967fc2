"""The REST backend against a whole gateway: what goes in, what comes out, and what is told of what went wrong."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from brainmets.client import AsyncClient, SegmentationOptions
from brainmets.rest.app import build_app
from brainmets.rest.middlewares import NOTICE_HEADER
from brainmets.rest.studies import MAX_FIELD_BYTES, MAX_FIELDS, MAX_FILES
from brainmets.v1 import segmentation_service_pb2
from free_addresses import free_addresses
from gateway_bench import GatewayBench, study_bytes
from rest_bench import MAX_STUDY_BYTES, running_backend

# Less than the backend waits for what is under way.
AT_ONCE_S, GRACE_S = 30.0, 120.0
Parts = tuple[str, tuple[str, bytes]]
T1C: Parts = ("files", ("patient-t1c.nii.gz", study_bytes()))
T2F: Parts = ("files", ("patient-t2f.nii.gz", study_bytes()))
MEDIA_TYPES = {
    "mask.nii.gz": "application/gzip",
    "probability.nii.gz": "application/gzip",
    "report.json": "application/json",
    "lesions.csv": "text/csv; charset=utf-8",
    "overlay.png": "image/png",
}


@pytest.fixture(autouse=True)
def _grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, too, what ends at once ends before."""
    monkeypatch.setattr("brainmets.rest.command._GRACE_S", GRACE_S)


async def submit(http: httpx.AsyncClient, *files: Parts, **fields: Any) -> str:
    """Send a study and return its job's path; Any: what a form holds."""
    answer = await http.post("/v1/studies", files=files or (T1C,), data=fields)
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    return str(answer.headers["Location"])


def paths_below(folder: Path) -> set[Path]:
    """Return what lies in a folder, however deep, but for what the gateway stores."""
    return {path for path in folder.rglob("*") if "artifacts" not in path.parts}


async def watch(http: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    """Return the jobs that are told until the stream ends."""
    lines = (await http.get(f"{path}/events")).text.splitlines()
    assert {line for line in lines if line.startswith("event:")} == {"event: job"}
    return [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Return a problem, which says of itself what it is."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    told: dict[str, Any] = answer.json()
    assert (answer.status_code, told["status"]) == (status, status), answer.text
    return told


async def test_a_study_comes_out_as_the_grpc_client_gets_it(bench: GatewayBench, http: httpx.AsyncClient) -> None:
    """The same job, result and files, byte for byte, each of the type it is."""
    path = await submit(http, T1C, T2F)
    assert (await watch(http, path))[-1]["state"] == "succeeded"
    job = (await http.get(path)).json()
    async with AsyncClient(bench.address) as client:
        segmentation = await client.wait(job["job_id"])
    assert segmentation.sequences_used == ("t1c", "t2f")
    assert {artifact["file_name"] for artifact in job["artifacts"]} == set(segmentation.files) == set(MEDIA_TYPES)
    for artifact in job["artifacts"]:
        answer = await http.get(f"{path}/artifacts/{artifact['file_name']}")
        assert answer.content == segmentation.files[artifact["file_name"]]
        assert hashlib.sha256(answer.content).hexdigest() == artifact["sha256"]
        assert answer.headers["Content-Type"] == MEDIA_TYPES[artifact["file_name"]]
    result = await http.get(f"{path}/result")
    assert result.content == segmentation.files["report.json"]
    assert len(result.json()["lesions"]) == 1
    assert problem(await http.get(f"{path}/artifacts/other.txt"), httpx.codes.NOT_FOUND)


async def test_options_reach_the_service(idle: GatewayBench, http: httpx.AsyncClient) -> None:
    """Each field of the form."""
    given = SegmentationOptions(
        model="nested_unet",
        operating_point="sensitive",
        threshold=0.5,
        min_lesion_volume_mm3=20.0,
        min_peak_probability=0.75,
        deadline_s=60.0,
        force=True,
        series={"t1c": 5, "t2f": 7},
        test=True,
    )
    fields = asdict(given) | {"series": ["t1c=5", "t2f=7"]}
    job_id = (await submit(http, **fields)).rpartition("/")[2]
    answer = await idle.segmentation.GetJob(segmentation_service_pb2.GetJobRequest(job_id=job_id))
    assert answer.job.options == given.to_proto()


@pytest.mark.usefixtures("idle")
async def test_a_repeated_request_is_the_same_job(http: httpx.AsyncClient) -> None:
    """Under one request_id."""
    assert await submit(http, request_id="mine") == await submit(http, request_id="mine")


async def test_jobs_are_listed_cancelled_and_erased(http: httpx.AsyncClient) -> None:
    """Newest first; what has no result yet is no result, and what is erased is unknown."""
    paths = [await submit(http) for _ in range(3)]
    listed = (await http.get("/v1/jobs", params={"limit": 2})).json()
    assert [f"/v1/jobs/{job['job_id']}" for job in listed] == paths[:0:-1]
    assert "queued" in problem(await http.get(f"{paths[0]}/result"), httpx.codes.CONFLICT)["detail"]
    assert (await http.post(f"{paths[0]}/cancel")).json()["state"] == "cancelled"
    for part in ("result", "artifacts/mask.nii.gz"):
        assert "cancelled" in problem(await http.get(f"{paths[0]}/{part}"), httpx.codes.CONFLICT)["detail"]
    assert (await http.delete(paths[0])).status_code == httpx.codes.NO_CONTENT
    assert problem(await http.get(paths[0]), httpx.codes.NOT_FOUND)["reason"] == "UNKNOWN_JOB"


async def test_a_stream_ends_when_the_backend_does(idle: GatewayBench) -> None:
    """At once, and without a word of it; the job goes on."""
    async with asyncio.timeout(AT_ONCE_S), running_backend(idle.address) as http:
        request = http.build_request("GET", f"{await submit(http)}/events")
        texts = (await http.send(request, stream=True)).aiter_text()
        told = await anext(texts)
        reading = asyncio.create_task(anext(texts, ""))
    assert told.count("event:") == told.count("event: job") == 1
    assert "queued" in told
    assert not await reading


async def test_streams_are_counted(idle: GatewayBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound one is told when to come back; one that its caller closes makes room."""
    monkeypatch.setattr("brainmets.rest.app.MAX_STREAMS", 1)
    async with running_backend(idle.address) as http:
        path = await submit(http)
        async with http.stream("GET", f"{path}/events"):
            full = await http.get(f"{path}/events")
            assert problem(full, httpx.codes.SERVICE_UNAVAILABLE)["reason"] == "SERVICE_UNAVAILABLE"
            assert int(full.headers["Retry-After"]) > 0
            assert (await http.get(path)).status_code == httpx.codes.OK
        status = httpx.codes.SERVICE_UNAVAILABLE
        async with asyncio.timeout(AT_ONCE_S):
            while status != httpx.codes.OK:
                async with http.stream("GET", f"{path}/events") as answer:
                    status = answer.status_code


@pytest.mark.parametrize("part", ["", "/events", "/result", "/artifacts/mask.nii.gz"])
async def test_an_unknown_job_is_not_found(http: httpx.AsyncClient, part: str) -> None:
    """Whatever of it is asked for, before a stream begins."""
    assert problem(await http.get(f"/v1/jobs/{'0' * 32}{part}"), httpx.codes.NOT_FOUND)["reason"] == "UNKNOWN_JOB"


async def test_models_and_their_cards_are_told(bench: GatewayBench, http: httpx.AsyncClient) -> None:
    """As the gRPC client has them."""
    models = (await http.get("/v1/models")).json()
    assert [model["model_name"] for model in models] == ["attention_unet", "nested_unet"]
    async with AsyncClient(bench.address) as client:
        card = await client.model_card("nested_unet")
    assert (await http.get("/v1/models/nested_unet/card")).json() == card
    assert problem(await http.get("/v1/models/other/card"), httpx.codes.NOT_FOUND)


@pytest.mark.usefixtures("bench")
async def test_a_broken_study_is_told_with_the_services_words(http: httpx.AsyncClient) -> None:
    """Its job fails, and there is no result to be had."""
    path = await submit(http, ("files", ("head-t1c.nii.gz", study_bytes()[:5000])))
    ended = (await watch(http, path))[-1]
    assert ended["state"] == "failed"
    assert ended["problem"]["reason"] == "MALFORMED_FILE"
    assert ended["problem"]["metadata"]["remedy"]
    assert "failed" in problem(await http.get(f"{path}/result"), httpx.codes.CONFLICT)["detail"]


@pytest.mark.usefixtures("bench")
async def test_a_broken_file_is_told_by_its_place_in_the_form(http: httpx.AsyncClient) -> None:
    """Whatever the order; also to whoever asks for the job later."""
    path = await submit(http, ("files", ("patient-t2f.nii.gz", study_bytes()[:5000])), T1C)
    for told in ((await watch(http, path))[-1], (await http.get(path)).json()):
        assert told["problem"]["metadata"]["file_index"] == "0"
        assert "(file 0)" in told["problem"]["detail"]


async def test_a_file_that_would_not_be_used_is_refused(http: httpx.AsyncClient) -> None:
    """By the name under which it came, in letters that every answer can hold, before the service is asked."""
    answer = await http.post("/v1/studies", files=[T1C, ("files", ("Zoë\u202e flair.nii.gz", study_bytes()))])
    assert "got Zoë  flair.nii.gz" in problem(answer, httpx.codes.UNPROCESSABLE_ENTITY)["detail"]
    assert not (await http.get("/v1/jobs")).json()


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"files": "study"}},
        {"content": b"\0" * 400, "headers": {"Content-Type": "application/octet-stream"}},
        {"data": {"files": "hello"}},
        {"files": [T1C, ("files", (None, b"hello"))]},
    ],
    ids=["json", "bytes", "urlencoded", "text"],
)
async def test_a_study_comes_as_files_of_a_form(http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """Whatever else comes is told how. Any: what httpx sends."""
    told = problem(await http.post("/v1/studies", **body), httpx.codes.UNPROCESSABLE_ENTITY)["detail"]
    assert "expected multipart/form-data" in told
    assert "-F files=@study-t1c.nii.gz" in told


@pytest.mark.parametrize(
    ("file_name", "fields"),
    [
        ("notes.txt", {}),
        ("t1c.nii.gz", {"model": "other"}),
        ("t1c.nii.gz", {"series": "t1c"}),
        ("t1c.nii.gz", {"threshold": "much"}),
        ("t1c.nii.gz", {"request_id": "x" * 129}),
        ("t1c.nii.gz", {"request_id": "Zoë"}),
    ],
)
async def test_what_cannot_be_sent_is_refused(
    http: httpx.AsyncClient, spool: Path, file_name: str, fields: dict[str, str]
) -> None:
    """Before the service is asked; nothing of it stays, and nothing of this machine is told."""
    answer = await http.post("/v1/studies", files=[("files", (file_name, b"no image"))], data=fields)
    assert "expected" in problem(answer, httpx.codes.UNPROCESSABLE_ENTITY)["detail"]
    assert str(spool) not in answer.text
    assert not paths_below(spool)


@pytest.mark.parametrize("files", [[T1C], None], ids=["multipart", "urlencoded"])
async def test_a_field_that_nobody_reads_is_refused(http: httpx.AsyncClient, files: list[Parts] | None) -> None:
    """A slip of the pen would have the study segmented by another threshold than was meant."""
    answer = await http.post("/v1/studies", files=files, data={"treshold": "0.9"})
    told = problem(answer, httpx.codes.UNPROCESSABLE_ENTITY)["detail"]
    assert "got 'treshold'" in told
    assert "threshold" in told.replace("'treshold'", "")
    assert not (await http.get("/v1/jobs")).json()


@pytest.mark.parametrize(
    "head",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
    ],
)
async def test_pages_of_others_change_nothing(http: httpx.AsyncClient, head: dict[str, str]) -> None:
    """Whatever browsers tell of them; they may ask, for no browser shows them the answer."""
    path = await submit(http)
    answers = await asyncio.gather(
        http.post("/v1/studies", files=[T1C], headers=head),
        http.post(f"{path}/cancel", headers=head),
        http.delete(path, headers=head),
    )
    for answer in answers:
        problem(answer, httpx.codes.FORBIDDEN)
        assert "Research use only" in answer.headers[NOTICE_HEADER]
    assert [job["state"] for job in (await http.get("/v1/jobs", headers=head)).json()] == ["queued"]


async def test_pages_of_its_own_address_may(http: httpx.AsyncClient) -> None:
    """By what the browser says, or else by the address; so may those of a proxy's address."""
    own = f"http://{http.base_url.netloc.decode()}"
    proxied = {"Sec-Fetch-Site": "same-origin", "Origin": "https://hospital.example"}
    for head in ({"Origin": own}, proxied, {"Sec-Fetch-Site": "none"}):
        answer = await http.post("/v1/studies", files=[T1C], headers=head)
        assert answer.status_code == httpx.codes.ACCEPTED


@pytest.mark.parametrize("field", ["request_id", "series"])
async def test_no_charset_makes_an_answer_break(http: httpx.AsyncClient, field: str) -> None:
    """One that decodes to half a character, which no answer can repeat."""
    answer = await http.post(
        "/v1/studies",
        files=[T1C],
        data={field: "\\ud800"},
        headers={"Content-Type": "multipart/form-data; boundary=B; charset=unicode_escape"},
    )
    assert "ud800" not in problem(answer, httpx.codes.UNPROCESSABLE_ENTITY)["detail"]


async def test_no_charset_of_a_fields_name_makes_an_answer_break(http: httpx.AsyncClient) -> None:
    """It is repeated in letters that every answer can hold."""
    answer = await http.post(
        "/v1/studies",
        files=[T1C],
        data={"\\ud800": "x"},
        headers={"Content-Type": "multipart/form-data; boundary=B; charset=unicode_escape"},
    )
    assert r"got '\ud800'" in problem(answer, httpx.codes.UNPROCESSABLE_ENTITY)["detail"]


async def test_a_defect_is_a_problem_that_tells_nothing_of_it() -> None:
    """But what every answer tells. A client that is closed is one."""
    async with AsyncClient() as closed:
        app = build_app(closed, host="127.0.0.1", max_study_bytes=MAX_STUDY_BYTES)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        answer = await http.get("/v1/models")
    assert "losed" not in str(problem(answer, httpx.codes.INTERNAL_SERVER_ERROR))
    assert "Research use only" in answer.headers[NOTICE_HEADER]
    assert answer.headers["Cache-Control"] == "no-store"


async def test_the_service_refuses_what_is_out_of_range(http: httpx.AsyncClient) -> None:
    """In its own words."""
    answer = await http.post("/v1/studies", files=[T1C], data={"threshold": "2"})
    assert problem(answer, httpx.codes.BAD_REQUEST)["reason"] == "INVALID_ARGUMENT"


async def test_nothing_of_an_upload_stays(http: httpx.AsyncClient, spool: Path) -> None:
    """Once it is sent."""
    await submit(http, T1C, T2F)
    assert not paths_below(spool)


async def test_a_name_leads_nowhere(http: httpx.AsyncClient, tmp_path: Path, spool: Path) -> None:
    """Whatever a file calls itself, it is written into the temporary folder or not at all."""
    before = paths_below(tmp_path)
    for name in ("../../out-t1c.nii.gz", f"{tmp_path}/out-t1c.nii.gz", "..\\out-t1c.nii.gz"):
        await submit(http, ("files", (name, study_bytes())), ("files", ("out-t2f.nii.gz", study_bytes())))
    assert paths_below(tmp_path) == before
    assert not paths_below(spool)


async def test_too_much_is_refused(http: httpx.AsyncClient, spool: Path) -> None:
    """By its bytes, whether they were announced or not, and by its files; nothing of it stays."""
    large = ("files", ("t1c.nii", bytes(MAX_STUDY_BYTES)))
    announced = http.build_request("POST", "/v1/studies", files=[large])
    assert "at most" in problem(await http.send(announced), httpx.codes.REQUEST_ENTITY_TOO_LARGE)["detail"]

    async def body() -> AsyncIterator[bytes]:
        yield announced.read()

    head = {"Content-Type": announced.headers["Content-Type"]}
    problem(await http.post("/v1/studies", content=body(), headers=head), httpx.codes.REQUEST_ENTITY_TOO_LARGE)
    many = [("files", (f"{number}", b"x")) for number in range(MAX_FILES + 1)]
    problem(await http.post("/v1/studies", files=many), httpx.codes.BAD_REQUEST)
    assert not paths_below(spool)


@pytest.mark.parametrize(
    "fields", [{"series": ["t1c=5"] * (MAX_FIELDS + 1)}, {"unasked": "x" * (MAX_FIELD_BYTES + 1)}], ids=["many", "long"]
)
@pytest.mark.parametrize("files", [[T1C], None], ids=["multipart", "urlencoded"])
async def test_fields_are_bounded(http: httpx.AsyncClient, fields: dict[str, Any], files: list[Parts] | None) -> None:
    """In number and length, also one that nobody asks for: they are held in memory. Any: what a form holds."""
    answer = await http.post("/v1/studies", files=files, data=fields)
    assert "maximum" in problem(answer, httpx.codes.BAD_REQUEST)["detail"].lower()


async def test_too_much_ends_a_stream(http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """Before it begins, or else by its connection; neither leaves a traceback."""
    path = f"{await submit(http)}/events"
    large = bytes(MAX_STUDY_BYTES + 1)
    problem(await http.request("GET", path, content=large), httpx.codes.REQUEST_ENTITY_TOO_LARGE)

    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(1.0)
        yield large

    async with asyncio.timeout(AT_ONCE_S):
        with pytest.raises(httpx.TransportError):
            await http.request("GET", path, content=body())
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_service_that_is_away_is_told(spool: Path) -> None:
    """By whatever needs it; nothing of an upload stays."""
    (nobody,) = free_addresses()
    async with running_backend(nobody) as http:
        answers = await asyncio.gather(http.get("/healthz"), http.post("/v1/studies", files=[T1C]))
    for answer in answers:
        told = problem(answer, httpx.codes.SERVICE_UNAVAILABLE)
        assert told["reason"] == "SERVICE_UNREACHED"
        assert nobody in told["detail"]
    assert not paths_below(spool)


async def test_every_answer_says_what_it_is_for(http: httpx.AsyncClient) -> None:
    """Also one that refuses, and the description."""
    for path in ("/healthz", "/v1/jobs", "/openapi.json", "/nothing-here"):
        answer = await http.get(path)
        assert "Research use only" in answer.headers[NOTICE_HEADER]
        assert answer.headers["Cache-Control"] == "no-store"
    assert "Research use only" in (await http.get("/openapi.json")).json()["info"]["description"]
