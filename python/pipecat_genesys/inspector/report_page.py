"""The report of a call: the page of the inspector and the data of one call in one HTML file.

The file contains the modules, the styles and the audio of the call. The content security policy of
the page allows no other scripts, and no network connections.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE

from .audio_tracks import MAX_COLUMNS, peaks
from .calls import InspectedCall

WEB = Path(__file__).parent / "web"
"""The folder of the page."""

_MAX_AUDIO = 2 * 3600 * WIRE_SAMPLE_RATE
_STYLE = re.compile(r'^[ \t]*<link rel="stylesheet" href="\./([\w./-]+)"[^>]*>\s*$', re.MULTILINE)
_SCRIPT = re.compile(r'[ \t]*<script\b([^>]*)\bsrc="\./([\w./-]+)"[^>]*>\s*</script>')
_IMPORT = re.compile(r'^import\b[^;]*?from\s+"\./([\w./-]+)";[ \t]*\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async |const |let |class |function ))", re.MULTILINE)


def report_page(call: InspectedCall) -> str:
    """Return the report of a call as a self-contained HTML page.

    Args:
        call: The call; it can still be running.

    Raises:
        OSError: If the files of the page are missing.
    """
    return page_with_data(report_data(call))


def report_data(call: InspectedCall) -> dict[str, Any]:
    """Return the data of a call in the form that the page of a report reads."""
    analysis = call.analysis
    tracks = analysis.tracks()
    duration = analysis.now
    fits = duration * WIRE_SAMPLE_RATE <= _MAX_AUDIO
    return {
        **call.details(),
        "messages": [message.as_json(full=True) for message in analysis.messages],
        "marks": [mark.as_json() for mark in analysis.marks],
        "peaks": {
            party: {
                "from": 0,
                "to": round(duration, 4),
                "peaks": peaks(track, 0, duration, MAX_COLUMNS),
            }
            for party, track in tracks.items()
        },
        "audio": {
            party: base64.b64encode(call.wav(party, ulaw=True)).decode() if fits else None
            for party in tracks
        },
    }


def page_with_data(data: dict[str, Any]) -> str:
    """Return one HTML page that contains its scripts, its styles and the data of a call.

    Raises:
        OSError: If the files of the page are missing.
    """
    page = (WEB / "index.html").read_text(encoding="utf-8")
    styles = [
        (WEB / name).read_text(encoding="utf-8").replace("</style", "<\\/style")
        for name in _STYLE.findall(page)
    ]
    page = _STYLE.sub("", page)
    scripts: list[tuple[str, str]] = []
    for attributes, name in _SCRIPT.findall(page):
        is_module = "module" in attributes
        source = _joined(name) if is_module else (WEB / name).read_text(encoding="utf-8")
        kind = ' type="module"' if is_module else ""
        scripts.append((kind, source.replace("</script", "<\\/script")))
    page = _SCRIPT.sub("", page)
    policy = (
        "default-src 'none'; "
        f"script-src {_hashes([source for _, source in scripts])}; "
        f"style-src {_hashes(styles)}; "
        "img-src data: blob:; media-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    head = [
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">',
        *(f"<style>{style}</style>" for style in styles),
    ]
    # A JSON block must not contain "</script" or "<!--".
    block = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    body = [
        f'<script type="application/json" id="capture">{block}</script>',
        *(f"<script{kind}>{source}</script>" for kind, source in scripts),
    ]
    # `re.sub` is not used, because it would interpret the backslashes in the inserted text.
    page = _insert(page, "</head>", "\n".join(head))
    return _insert(page, "</body>", "\n".join(body))


def _insert(page: str, tag: str, text: str) -> str:
    before, found, after = page.rpartition(tag)
    return f"{before}{text}\n{found}{after}" if found else f"{page}\n{text}"


def _hashes(texts: Iterable[str]) -> str:
    """Return the sources of a content security policy that allow exactly these inline texts."""
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    sources = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return sources or "'none'"


def _joined(name: str) -> str:
    """Return the text of a module after the text of all modules that it imports, each once."""
    done: dict[str, str] = {}

    def add(module: str) -> None:
        if module in done:
            return
        done[module] = ""
        source = (WEB / module).read_text(encoding="utf-8")
        for imported in _IMPORT.findall(source):
            add(imported)
        del done[module]
        done[module] = _EXPORT.sub("", _IMPORT.sub("", source))

    add(name)
    return "\n".join(done.values())
