"""Writes a result as one HTML page that needs nothing else: data, style and script are inside.

The page itself is template.html beside this file; it draws with inline SVG and reads no network.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).with_name("template.html")
PLACE = "/*DATA*/null"


def render(document: dict[str, Any]) -> str:
    """The page for a document whose numbers are all finite; raw samples stay in the JSON file."""
    shown = {key: value for key, value in document.items() if key != "samples"}
    text = json.dumps(shown).replace("</", "<\\/")
    page = TEMPLATE.read_text()
    if page.count(PLACE) != 1:
        raise ValueError(f"{TEMPLATE} must contain {PLACE} once")
    return page.replace(PLACE, text)
