"""Owns the pages of the documentation site that are made while it is built.

The API's are made from the protos; others lie at the top of the repository, where its readers look for them.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("brainmets/v1")
# Pages of the site by the file that they are made of.
TOP_PAGES = {
    "README.md": "index.md",
    "DECISIONS.md": "decisions.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
# Numbers of fields in descriptor.proto, which paths of comments are made of.
_FILE_MESSAGES, _FILE_ENUMS, _FILE_SERVICES = 4, 5, 6
_MESSAGE_FIELDS, _SERVICE_METHODS, _ENUM_VALUES = 2, 2, 2

Comments = dict[tuple[int, ...], str]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages; MkDocs calls it when it has collected the others."""
    for source, page in TOP_PAGES.items():
        files.append(File.generated(config, page, content=_rewrite_links((ROOT / source).read_text(encoding="utf-8"))))
    files.append(File.generated(config, "api.md", content=render_api(load_protos())))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Take the links out that lead into the repository: the site is read without it."""
    return re.sub(r"\[([^\]]+)\]\(\.\./(?!SECURITY)[^)]*\)", r"\1", markdown).replace("../SECURITY.md", "security.md")


def _rewrite_links(text: str) -> str:
    """Return a page of the repository's top as one of the site: its links to pages, the others as plain words."""
    for source, page in TOP_PAGES.items():
        text = text.replace(f"]({source}", f"]({page}")
    text = text.replace("](protos/brainmets/v1)", "](api.md)").replace("](docs/", "](")
    return re.sub(r"\[([^\]]+)\]\((?:CONTRIBUTING|LICENSE|services|deploy)[^)]*\)", r"\1", text)


def load_protos() -> FileDescriptorSet:
    """Return the published contract with its comments."""
    spec = find_spec("grpc_tools")
    assert spec is not None and spec.origin is not None  # noqa: S101, PT018 -- a requirement of this project's tests
    protos = ROOT / "protos"
    names = [str(path.relative_to(protos)) for path in sorted((protos / PACKAGE).glob("*.proto"))]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "protos.binpb"
        subprocess.run(  # noqa: S603 -- our own protos
            [
                sys.executable, "-m", "grpc_tools.protoc", "--include_source_info", f"--descriptor_set_out={out}",
                f"-I{protos}", f"-I{Path(spec.origin).parent / '_proto'}",
                *names,
            ],
            check=True,
        )  # fmt: skip
        return FileDescriptorSet.FromString(out.read_bytes())


def render_api(protos: FileDescriptorSet) -> str:
    """Return the contract as a page: services with their calls first, then messages and enums."""
    ours = [file for file in protos.file if file.package == "brainmets.v1"]
    parts = [
        "# API reference",
        "The gRPC API, made from the comments of `protos/brainmets/v1`. Research use only; not for diagnosis.",
    ]
    for file in ours:
        parts += _render_services(file, _read_comments(file))
    parts.append("## Messages and enums")
    for file in ours:
        comments = _read_comments(file)
        for index, message in enumerate(file.message_type):
            parts += _render_message(message, (_FILE_MESSAGES, index), comments)
        for index, enum in enumerate(file.enum_type):
            parts += _render_enum(enum, (_FILE_ENUMS, index), comments)
    return "\n\n".join(parts) + "\n"


def _read_comments(file: FileDescriptorProto) -> Comments:
    return {
        tuple(place.path): (place.leading_comments or place.trailing_comments).strip()
        for place in file.source_code_info.location
        if place.leading_comments or place.trailing_comments
    }


def _render_services(file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    for index, service in enumerate(file.service):
        path = (_FILE_SERVICES, index)
        yield f"## {service.name}"
        yield comments.get(path, "")
        for number, method in enumerate(service.method):
            ways = ("stream " * method.client_streaming, "stream " * method.server_streaming)
            request, response = (_link(name) for name in (method.input_type, method.output_type))
            yield f"### {method.name}"
            yield f"{ways[0]}{request} → {ways[1]}{response}"
            yield comments.get((*path, _SERVICE_METHODS, number), "")


def _render_message(message: DescriptorProto, path: tuple[int, ...], comments: Comments) -> Iterator[str]:
    yield f"### {message.name}"
    yield comments.get(path, "")
    if message.field:
        rows = ["| field | type | |", "|---|---|---|"]
        for index, field in enumerate(message.field):
            words = comments.get((*path, _MESSAGE_FIELDS, index), "")
            rows.append(f"| `{field.name}` = {field.number} | {_name_type(field, message)} | {_one_line(words)} |")
        yield "\n".join(rows)


def _render_enum(enum: EnumDescriptorProto, path: tuple[int, ...], comments: Comments) -> Iterator[str]:
    yield f"### {enum.name}"
    yield comments.get(path, "")
    rows = ["| value | |", "|---|---|"]
    for index, value in enumerate(enum.value):
        words = comments.get((*path, _ENUM_VALUES, index), "")
        rows.append(f"| `{value.name}` = {value.number} | {_one_line(words)} |")
    yield "\n".join(rows)


def _name_type(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    name = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    name = _link(field.type_name) if field.type_name else name
    if field.proto3_optional:
        return f"optional {name}"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    if field.HasField("oneof_index"):
        return f"{name}, one of {message.oneof_decl[field.oneof_index].name}"
    return name


def _link(type_name: str) -> str:
    """Return a type's name, as a link where it is one of this page."""
    name = type_name.removeprefix(".")
    ours = name.removeprefix("brainmets.v1.")
    return name if name == ours else f"[{ours}](#{ours.lower()})"


def _one_line(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")
