"""Findings, both ways."""

from brainmets.imaging.findings import Finding, Severity
from brainmets.v1 import result_pb2
from brainmets.wire.names import finding_code_from_proto, finding_code_to_proto, sequence_from_proto, sequence_to_proto


def finding_to_proto(finding: Finding) -> result_pb2.Finding:
    """Write a finding."""
    return result_pb2.Finding(
        code=finding_code_to_proto(finding.code),
        message=finding.message,
        sequence=sequence_to_proto(finding.sequence),
        severity=result_pb2.Severity.Value(f"SEVERITY_{finding.severity.name}"),
    )


def finding_from_proto(message: result_pb2.Finding) -> Finding:
    """Read a finding.

    Raises:
        KeyError: Its code or severity is of a newer contract.
    """
    return Finding(
        finding_code_from_proto(message.code),
        message.message,
        sequence_from_proto(message.sequence),
        Severity[result_pb2.Severity.Name(message.severity).removeprefix("SEVERITY_")],
    )
