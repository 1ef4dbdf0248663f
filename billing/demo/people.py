"""Believable names for the demo, the same in every installation."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

_FIRST = """
Ana Ben Chiara David Elif Finn Greta Hugo Ines Jonas Kaya Liam Maja Nils Olga Pablo Quinn Rosa Sven Tara Umut Vera Wim Xenia
Yusuf Zoe Arne Bruna Carl Dunja
"""
_LAST = """
Ruiz Okafor Lindqvist Moreau Schneider Kowalski Rossi Novak Haddad Jansen Silva Berg Nakamura Olsen Petrov Quist Romano Sato
Tran Ueda Vogel Weiss Yilmaz Zhang Adler Brandt Costa Dubois Eriksen Ferrari
"""
_COMPANIES = (
    "Alder Birch Cedar Dune Ember Fjord Grove Harbor Iris Juniper Kestrel Lumen Maple Nimbus Orchard Pine Quarry Ridge"
)
FIRST, LAST, COMPANIES = (names.split() for names in (_FIRST, _LAST, _COMPANIES))
COUNTRIES = ("DE", "DE", "DE", "FR", "ES", "IT", "PL", "NL", "SE", "US", "US", "CA", "GB")
SEGMENTS = ("smb", "smb", "smb", "mid-market", "enterprise")


def people(count: int, random: Random) -> Iterator[dict[str, Any]]:
    """Fields of `count` customers with addresses of their own, all under the reserved domain example.com."""
    for number in range(count):
        first, last = FIRST[number % len(FIRST)], LAST[(number * 7 + number // len(FIRST)) % len(LAST)]
        company = f"{COMPANIES[number % len(COMPANIES)]} {('Labs', 'GmbH', 'Studio', 'Ltd')[number % 4]}"
        yield {
            "name": f"{first} {last}",
            "email": f"{first}.{last}.{number}@{company.split()[0].lower()}.example.com".lower(),
            "external_id": f"NW-{1001 + number}",
            "segment": random.choice(SEGMENTS),
            "country": random.choice(COUNTRIES),
            "metadata": {"company": company, "seats": str(random.choice((3, 5, 8, 12, 25, 60)))},
        }
