"""XML of others, without entities that grow."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from vidaff.datasets.label_text import read_bytes
from vidaff.errors import VidaffError


def parse_xml(path: Path) -> ElementTree.Element:
    """Root of an XML file; document types are refused, since entities defined there can grow without bound."""
    data = read_bytes(path)
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise VidaffError(f"{path}: XML with a document type is refused")
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise VidaffError(f"{path}: not readable as XML ({error})") from error
