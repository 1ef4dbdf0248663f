"""How values look: states, ids, times, JSON. Everything is escaped (RELIABILITY 5: pages are an entry point of foreign text)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib import admin
from django.utils import timezone

from accounts.adminsite import look
from accounts.ids import PREFIXES
from tests.admin.pages import rows, words

BAD = '<b onclick="x">&'


class TestStates:
    def test_a_state_is_an_icon_and_a_word_then_a_colour(self) -> None:
        shown = look.pill("Paid", "ok", "tick")
        assert shown.startswith('<span class="pill pill-ok"><svg')
        assert words(shown) == "Paid"
        assert 'aria-hidden="true"' in shown

    def test_one_that_the_table_does_not_know_is_shown_as_it_is(self) -> None:
        assert words(look.state_pill({}, "dormant")) == "dormant"
        assert look.state_pill({}, None) == look.NONE

    @pytest.mark.parametrize("name", sorted(look.ICONS))
    def test_every_icon_is_one_path_within_its_grid(self, name: str) -> None:
        path = look.ICONS[name]
        assert path.startswith("M")
        assert set(path) <= set("MmLlHhVvCcSsAaZz0123456789.,- ")
        assert f'd="{path}"' in look.icon(name)


class TestForeignText:
    @pytest.mark.parametrize(
        "shown",
        [
            look.pill(BAD),
            look.link("/x", BAD),
            look.code(BAD),
            look.pretty({"key": BAD}),
            look.data({BAD: BAD}),
            look.id_link(BAD),
            look.folded(BAD, BAD),
            look.table((BAD,), [(BAD,)], ""),
            look.table((), [], BAD),
        ],
    )
    def test_is_never_markup(self, shown: str) -> None:
        assert "<b" not in shown
        assert "&lt;b" in shown


class TestTimes:
    def test_a_time_is_short_and_its_exact_form_is_at_hand(self) -> None:
        at = datetime(2019, 3, 7, 8, 5, 9, 120_000, tzinfo=UTC)
        assert words(look.moment(at)) == "7 Mar 2019, 08:05"
        assert 'title="2019-03-07 08:05:09.120 UTC"' in look.moment(at)
        assert 'datetime="2019-03-07T08:05:09.120000+00:00"' in look.moment(at)

    def test_this_year_goes_without_saying(self) -> None:
        year = timezone.now().year
        assert words(look.moment(datetime(year, 11, 21, 10, 49, tzinfo=UTC))) == "21 Nov, 10:49"

    def test_all_times_are_utc(self) -> None:
        zone = timezone.get_fixed_timezone(120)
        assert words(look.moment(datetime(2019, 3, 7, 1, 5, tzinfo=zone))) == "6 Mar 2019, 23:05"

    def test_no_time_is_a_dash(self) -> None:
        assert words(look.moment(None)) == "–"

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0, "0 ms"), (0.0004, "0 ms"), (0.412, "412 ms"), (1, "1 s"), (3.24, "3.2 s"), (59.9, "59.9 s"), (59.96, "1 min"),
            (90, "2 min"), (3599, "1 h"), (3600, "1 h"), (7500, "2 h 5 min"), (47 * 3600, "47 h"), (48 * 3600, "2 days"),
            (3 * 86400, "3 days"), (13 * 86400 + 23 * 3600, "13 days 23 h"), (-5, "0 ms"),
        ],
    )  # fmt: skip
    def test_lengths_are_said_in_the_units_that_matter(self, seconds: float, text: str) -> None:
        assert look.lasting(timedelta(seconds=seconds)) == text


class TestIds:
    @pytest.mark.parametrize("prefix", sorted(set(PREFIXES) - {"cn"}))  # credit notes have no table yet
    def test_every_public_id_leads_to_its_page(self, prefix: str) -> None:
        shown = look.id_link(f"{prefix}_7")
        assert words(shown) == f"{prefix}_7"
        assert "/7/change/" in shown

    @pytest.mark.parametrize("text", ["cn_7", "nothing", "inv_0", "inv_", "inv_8/../x", "Inv_8"])
    def test_what_is_no_id_of_ours_is_plain_text(self, text: str) -> None:
        assert look.id_link(text) == text

    def test_two_pages_never_claim_one_prefix(self) -> None:
        claimed = [page.prefix for page in admin.site._registry.values() if getattr(page, "prefix", "")]
        assert sorted(claimed) == sorted(set(claimed))
        assert set(claimed) <= set(PREFIXES)


class TestData:
    def test_a_few_plain_pairs_are_pairs(self) -> None:
        shown = look.data({"seats": 60, "vip": True, "note": None})
        assert words(shown) == "seats 60 vip Yes note –"

    def test_what_is_deeper_is_json_on_its_lines(self) -> None:
        shown = look.data({"customer": {"name": "Zoë"}})
        assert shown.startswith("<pre")
        assert words(shown) == '{ "customer": { "name": "Zoë" } }'

    @pytest.mark.parametrize("value", [[1, 2], "text", {"long": "x" * 201}, {str(n): n for n in range(13)}])
    def test_so_is_what_would_not_fit_a_line(self, value: object) -> None:
        assert look.data(value).startswith("<pre")

    def test_exact_numbers_are_numbers(self) -> None:
        assert words(look.pretty({"total": Decimal("79.10")})) == '{ "total": 79.1 }'

    def test_other_values_are_text(self) -> None:
        assert words(look.pretty({"at": datetime(2019, 3, 7, tzinfo=UTC)})) == '{ "at": "2019-03-07 00:00:00+00:00" }'


class TestTables:
    def test_cells_know_their_heads_for_narrow_screens(self) -> None:
        shown = look.table(("Invoice", ">Total"), [("INV-1", "79.00 EUR")], "None.")
        assert rows(shown) == [["INV-1", "79.00 EUR"]]
        assert 'data-label="Total" class="figures"' in shown
        assert 'data-label="Invoice"' in shown

    def test_without_rows_a_sentence_stands_there(self) -> None:
        assert words(look.table(("Invoice",), [], "No invoices yet.")) == "No invoices yet."

    def test_a_row_that_does_not_fit_is_a_fault(self) -> None:
        with pytest.raises(ValueError, match="zip"):
            look.table(("One", "Two"), [("only one",)], "")
