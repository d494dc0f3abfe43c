"""A self-contained HTML report: one file with its style, pictures, charts and clips inside; it needs no network.

Example::

    report = Report("Results", "Trained on 240 clips.")
    report.section("Scores", "Higher is better.")
    report.table(["model", "IoU"], [["small", 0.81], ["tiny", 0.12]])
    report.picture("confusion.png", "Rows are the truth.")
    report.save("report.html")
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from vidaff.errors import VidaffError
from vidaff.io import read_image, write_text

if TYPE_CHECKING:
    import numpy as np

Cell = str | int | float | None

MAX_EMBEDDED_BYTES = 48 * 2**20
"""Largest picture or clip put into the page; base64 adds a third."""
COMPACT_WIDTH = 1600

MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
}

STYLE = """
:root { color-scheme: light dark; --ink:#1d2433; --dim:#5d6880; --paper:#ffffff; --card:#f5f7fa; --rule:#dde2ea;
  }
@media (prefers-color-scheme: dark) { :root { --ink:#e6e9f0; --dim:#9aa4b8; --paper:#14171e; --card:#1d222c;
  --rule:#313949; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", sans-serif; }
main { max-width: 1020px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 21px; margin: 48px 0 8px; padding-top: 20px; border-top: 1px solid var(--rule); }
.lead { color: var(--dim); font-size: 18px; margin: 0 0 24px; }
p { margin: 8px 0 14px; max-width: 74ch; }
.facts { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0; }
.fact { flex: 1 1 150px; background: var(--card); border-radius: 10px; padding: 14px 16px; }
.fact b { display: block; font-size: 26px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.fact span { color: var(--dim); font-size: 14px; }
.scroll { overflow-x: auto; margin: 16px 0; }
table { border-collapse: collapse; width: 100%; font-size: 15px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; }
thead th { color: var(--dim); font-weight: 600; }
tr.strong td { font-weight: 700; }
caption, figcaption { color: var(--dim); font-size: 14px; text-align: left; padding: 6px 0; caption-side: bottom; }
figure { margin: 16px 0; overflow-x: auto; }
figure > img, figure > video { max-width: 100%; border-radius: 8px; display: block; background: #000; }
.wide > img, .wide > video { width: 100%; }
figure > svg { max-width: 100%; min-width: 400px; height: auto; }
.grid2 { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 4px 20px; }
@media (max-width: 460px) { .grid2 { grid-template-columns: 1fr; } }
.chart { width: 100%; height: auto; font: 12px system-ui, sans-serif; }
.chart text { fill: var(--dim); }
.chart .grid { stroke: var(--rule); stroke-width: 1; }
pre { background: var(--card); border-radius: 8px; padding: 12px 16px; overflow-x: auto; font-size: 14px; }
details { margin: 12px 0; }
summary { cursor: pointer; color: var(--dim); }
.fold > summary { color: var(--ink); padding: 6px 0; border-bottom: 1px solid var(--rule); overflow-wrap: anywhere; }
.sheet { display: grid; grid-template-columns: repeat(var(--columns), minmax(104px, 1fr)); gap: 4px 6px;
  overflow-x: auto; margin: 10px 0 20px; font-size: 14px; }
.sheet > b { font-weight: 600; }
.sheet > p { grid-column: 1 / -1; color: var(--dim); margin: 8px 0 0; overflow-wrap: anywhere;
  position: sticky; left: 0; max-width: calc(100vw - 48px); }
.sheet > img { width: 100%; max-height: 230px; object-fit: contain; object-position: left;
  border-radius: 4px; display: block; }
.sheet > i { background: var(--card); color: var(--dim); border-radius: 4px; padding: 8px; min-height: 64px;
  display: flex; align-items: center; justify-content: center; text-align: center; font-style: normal; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 14px; color: var(--dim); margin: 10px 0; }
.legend b { display: inline-block; width: 13px; height: 13px; border-radius: 3px; margin-right: 6px;
  vertical-align: -2px; border: 1px solid #8884; }
"""


class Report:
    """Collects the parts of a page in reading order; :meth:`save` writes the file. All text given to it is escaped."""

    def __init__(self, title: str, lead: str = "") -> None:
        self.title = title
        self._parts = [f"<h1>{escape(title)}</h1>"]
        if lead:
            self._parts.append(f'<p class="lead">{escape(lead)}</p>')

    def section(self, title: str, *paragraphs: str) -> None:
        """Start a section, with any number of paragraphs."""
        self._parts.append(f"<h2>{escape(title)}</h2>")
        for text in paragraphs:
            self.paragraph(text)

    def paragraph(self, text: str) -> None:
        """Add one paragraph of plain text."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def facts(self, facts: Iterable[tuple[Cell, str]]) -> None:
        """Add a row of big numbers, each ``(value, what it is)``."""
        tiles = (f'<div class="fact"><b>{_cell(value)}</b><span>{escape(label)}</span></div>' for value, label in facts)
        self._parts.append(f'<div class="facts">{"".join(tiles)}</div>')

    def table(
        self,
        header: Sequence[str],
        rows: Iterable[Sequence[Cell]],
        *,
        caption: str = "",
        strong: Sequence[int] = (),
    ) -> None:
        """Add a table; floats get three decimals, ``None`` and NaN read n/a; rows numbered in ``strong`` are bold.

        Raises:
            ValueError: a row has another number of cells than the header.
        """
        head = "".join(f"<th>{escape(name)}</th>" for name in header)
        body = "".join(_row(row, len(header), index in strong) for index, row in enumerate(rows))
        note = f"<caption>{escape(caption)}</caption>" if caption else ""
        self._parts.append(
            f'<div class="scroll"><table>{note}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def picture(
        self, picture: str | Path | np.ndarray, caption: str = "", *, wide: bool = False, compact: bool = False
    ) -> None:
        """Add a picture: a file, or (H, W, 3) uint8 RGB.

        ``wide`` stretches it over the page; ``compact`` stores it as JPEG, at most 1600 pixels wide.
        """
        self._parts.append(_figure(_image(_compact(picture) if compact else picture, caption), caption, wide))

    def clip(self, path: str | Path, caption: str = "", *, wide: bool = True) -> None:
        """Add an MP4 clip that plays by itself, silently and again and again."""
        self._parts.append(_figure(_video(path), caption, wide))

    def clips(self, clips: Iterable[tuple[str | Path, str]]) -> None:
        """Add several clips, each ``(path, caption)``, two in a row where the page is wide enough."""
        figures = "".join(_figure(_video(path), caption, True) for path, caption in clips)
        self._parts.append(f'<div class="grid2">{figures}</div>')

    def charts(self, charts: Iterable[tuple[str, str]]) -> None:
        """Add SVG charts of :mod:`vidaff.charts`, each ``(svg, caption)``, two in a row where there is room."""
        figures = "".join(_figure(svg, caption, False) for svg, caption in charts)
        self._parts.append(f'<div class="grid2">{figures}</div>')

    def chart(self, svg: str, caption: str = "") -> None:
        """Add one SVG chart of :mod:`vidaff.charts` over the full width."""
        self._parts.append(_figure(svg, caption, False))

    def code(self, text: str, *, summary: str = "") -> None:
        """Add text in a fixed-width block; with ``summary`` it is folded away behind that line."""
        block = f"<pre>{escape(text)}</pre>"
        self._parts.append(f"<details><summary>{escape(summary)}</summary>{block}</details>" if summary else block)

    @contextmanager
    def fold(self, summary: str, *, opened: bool = False) -> Iterator[None]:
        """Fold away all that is added within the block, behind the line ``summary``.

        Example::

            with report.fold("hold knife"):
                report.paragraph("...")
        """
        self._parts.append(f'<details class="fold"{" open" if opened else ""}><summary>{escape(summary)}</summary>')
        try:
            yield
        finally:
            self._parts.append("</details>")

    def legend(self, colours: Iterable[tuple[tuple[int, int, int], str]]) -> None:
        """Add what colours (red, green, blue) mean."""
        entries = (
            f'<span><b style="background:rgb({red},{green},{blue})"></b>{escape(text)}</span>'
            for (red, green, blue), text in colours
        )
        self._parts.append(f'<div class="legend">{"".join(entries)}</div>')

    def sheet(self, header: Sequence[str], rows: Iterable[tuple[str, Sequence[bytes | str]]]) -> None:
        """Add rows of small pictures below column names.

        A row is ``(caption, cells)``; a cell is a picture as JPEG bytes, or text that stands in its place.

        Raises:
            ValueError: a row has another number of cells than the header.
        """
        head = "".join(f"<b>{escape(name)}</b>" for name in header)
        body = "".join(f"<p>{escape(caption)}</p>{_cells(cells, header)}" for caption, cells in rows)
        self._parts.append(f'<div class="sheet" style="--columns:{len(header)}">{head}{body}</div>')

    def html(self) -> str:
        """The whole page."""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{STYLE}</style></head>\n"
            f"<body><main>\n{chr(10).join(self._parts)}\n</main></body></html>\n"
        )

    def save(self, path: str | Path) -> Path:
        """Write the page atomically and return its path; what is no text of a file's name becomes backslash escapes."""
        write_text(path, self.html().encode("utf-8", "backslashreplace").decode("utf-8"))
        return Path(path)


def data_uri(path: str | Path) -> str:
    """The file as a ``data:`` address; its suffix says the type.

    Raises:
        VidaffError: the file is missing, unreadable, of an unknown type, or larger than 48 MiB.
    """
    path = Path(path)
    media_type = MEDIA_TYPES.get(path.suffix.lower())
    if media_type is None:
        raise VidaffError(f"{path}: cannot be put into a report; known are {', '.join(MEDIA_TYPES)}")
    try:
        if path.stat().st_size > MAX_EMBEDDED_BYTES:
            raise VidaffError(f"{path}: larger than {MAX_EMBEDDED_BYTES >> 20} MiB, too large for a report")
        data = path.read_bytes()
    except OSError as error:
        raise VidaffError(f"{path}: cannot be read for the report ({error.strerror or error})") from error
    return _encode(data, media_type)


def _encode(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def _image(picture: str | Path | bytes | np.ndarray, alt: str) -> str:
    if isinstance(picture, bytes):
        source = _encode(picture, "image/jpeg")
    else:
        source = data_uri(picture) if isinstance(picture, (str, Path)) else _encode(_png(picture), "image/png")
    return f'<img src="{source}" alt="{escape(alt)}">'


def _png(picture: np.ndarray) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _compact(picture: str | Path | np.ndarray) -> bytes:
    """The picture as JPEG, scaled down to :data:`COMPACT_WIDTH` where it is wider."""
    import io

    from PIL import Image

    pixels = read_image(picture) if isinstance(picture, (str, Path)) else picture
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    if image.width > COMPACT_WIDTH:
        image = image.resize((COMPACT_WIDTH, max(1, round(image.height * COMPACT_WIDTH / image.width))))
    image.save(buffer, format="JPEG", quality=88)
    return buffer.getvalue()


def _video(path: str | Path) -> str:
    return f'<video src="{data_uri(path)}" autoplay loop muted playsinline controls></video>'


def _figure(inner: str, caption: str, wide: bool) -> str:
    note = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure{' class=wide' if wide else ''}>{inner}{note}</figure>"


def _cells(cells: Sequence[bytes | str], header: Sequence[str]) -> str:
    if len(cells) != len(header):
        raise ValueError(f"a row has {len(cells)} pictures, the header {len(header)}")
    pairs = zip(cells, header, strict=True)
    return "".join(_image(cell, name) if isinstance(cell, bytes) else f"<i>{escape(cell)}</i>" for cell, name in pairs)


def _row(row: Sequence[Cell], width: int, strong: bool) -> str:
    if len(row) != width:
        raise ValueError(f"a row has {len(row)} cells, the header {width}: {list(row)!r}")
    cells = "".join(f"<td>{_cell(value)}</td>" for value in row)
    return f"<tr{' class=strong' if strong else ''}>{cells}</tr>"


def _cell(value: Cell) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "n/a"
    if isinstance(value, float):
        return f"{value:.3f}"
    return escape(str(value))
