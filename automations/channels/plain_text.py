"""The text part of a mail, made from its HTML by our own small converter (C-23): paragraphs, lists, links, nothing
else."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_BLOCKS = re.compile(
    "address|article|aside|blockquote|div|dl|dd|dt|figure|footer|form|h[1-6]|header|main|nav|ol|p|pre|section|table|tr|ul"
)
_APART = re.compile("p|h[1-6]|ul|ol|table|blockquote|pre")
_SILENT = frozenset({"head", "style", "script", "title", "template"})


class _Converter(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.links: list[tuple[str, int]] = []
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in _SILENT:
            self.silent += 1
        elif tag == "br":
            self.parts.append("\n")
        elif tag == "hr":
            self.parts.append("\n\n----\n\n")
        elif tag == "li":
            self.parts.append("\n- ")
        elif tag == "img":
            self.parts.append(given.get("alt") or "")
        elif tag in ("td", "th"):
            self.parts.append(" ")
        elif tag == "a":
            self.links.append((given.get("href") or "", len(self.parts)))
        elif _BLOCKS.fullmatch(tag):
            self._apart(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self.silent = max(self.silent - 1, 0)
        elif tag == "a" and self.links:
            self._link(*self.links.pop())
        elif _BLOCKS.fullmatch(tag):
            self._apart(tag)

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.parts.append(re.sub(r"\s+", " ", data))

    def _apart(self, tag: str) -> None:
        self.parts.append("\n\n" if _APART.fullmatch(tag) else "\n")

    def _link(self, href: str, start: int) -> None:
        shown = "".join(self.parts[start:]).strip()
        if href and shown not in (href, href.removeprefix("mailto:")):
            self.parts.append(f" ({href})" if shown else href)


def plain_text(html: str) -> str:
    """The text of an HTML mail, with the addresses of its links in brackets."""
    converter = _Converter()
    converter.feed(html)
    converter.close()
    lines = [re.sub(r"[ \t]+", " ", line).strip() for line in "".join(converter.parts).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"
