"""Reading pages of the administration as people do: facts, the sentence about the state, tables, rows of lists, steps."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext


def address(model: type, *parts: object) -> str:
    """Of the list of a kind, or of `change` and `add` below it."""
    tail = "".join(f"{part}/" for part in parts)
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/{tail}"


def page_of(row: Any) -> str:
    """The address of a row's page."""
    return address(type(row), row.pk, "change")


def read(client: Client, where: str, status: int = 200) -> str:
    """The page."""
    answer = client.get(where)
    assert answer.status_code == status, (where, answer.status_code)
    return str(answer.content.decode())


def words(html: str) -> str:
    """What stands there, without marks and needless blanks."""
    shown = re.sub(r"<(svg|script)\b.*?</\1>", " ", html, flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", shown))).strip()


def content(html: str) -> str:
    """The part of the page that is its own."""
    return html.split('id="content"', 1)[1].split("<footer", 1)[0]


def title(html: str) -> str:
    """The heading, with the states beside it."""
    found = re.search(r"<h1>(.*?)</h1>", html, re.S)
    return words(found[1]) if found else ""


def facts(html: str) -> dict[str, str]:
    """Label -> value."""
    found = re.search(r'<dl class="facts"[^>]*>(.*)</dl>', html, re.S)
    pairs = re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", found[1] if found else "", re.S)
    return {words(label): words(value) for label, value in pairs}


def notice(html: str) -> str:
    """How the record stands."""
    found = re.search(r'<p class="note note-\w+">(.*?)</p>', html, re.S)
    return re.sub(r" (?=[.,:;])", "", words(found[1])) if found else ""


def tone(html: str) -> str:
    """In which tone that is said."""
    found = re.search(r'<p class="note note-(\w+)">', html)
    return found[1] if found else ""


def block(html: str, heading: str) -> str:
    """A part of a page by its heading; empty where there is none."""
    for part in re.findall(r'<section class="block".*?</section>', html, re.S):
        if re.search(rf"<h2>{re.escape(heading)}</h2>", part):
            return str(part)
    return ""


def rows(html: str) -> list[list[str]]:
    """The cells of a small table."""
    found = re.findall(r"<tr>(.*?)</tr>", html.split("<tbody>", 1)[-1], re.S) if "<tbody>" in html else []
    return [[words(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)] for row in found]


def listed(html: str) -> list[list[str]]:
    """The cells of a list."""
    table = re.search(r'<table id="result_list">.*?<tbody>(.*?)</tbody>', html, re.S)
    found = re.findall(r"<tr>(.*?)</tr>", table[1], re.S) if table else []
    return [[words(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)] for row in found]


def heads(html: str) -> list[str]:
    """The heads of a list."""
    table = re.search(r'<table id="result_list">.*?<thead>(.*?)</thead>', html, re.S)
    return [words(cell) for cell in re.findall(r"<th [^>]*>(.*?)</th>", table[1], re.S)] if table else []


def steps(html: str) -> list[str]:
    """What is said of each step of a run, in order, without what is folded."""
    found = re.findall(r'<li class="step[^"]*">(.*?)</li>', html, re.S)
    return [words(re.sub(r"<details>.*?</details>", "", step, flags=re.S)) for step in found]


def links(html: str) -> dict[str, str]:
    """Text -> address, of the page's own part."""
    found = re.findall(r'<a [^>]*?href="([^"]*)"[^>]*>(.*?)</a>', content(html), re.S)
    return {words(text): unescape(where) for where, text in found}


def cost(visit: Callable[[], Any]) -> int:
    """How many queries a visit makes; the first one of a process also fills Django's caches."""
    visit()
    with CaptureQueriesContext(connection) as queries:
        visit()
    return len(queries)
