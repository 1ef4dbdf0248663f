"""The replay of purchases: what the product records equals what the file says."""

from __future__ import annotations

from datetime import date

import pytest

from benchmarks.replay_cdnow import Counts, counted, expected, install, read, replay
from tests.factories import make_api_client, make_workspace

LINES = """
 customer_id  date number_of_cds  dollar_value
 00001 19970101  1   11.77
 00002 19970112  1   12.00
 00002 19970112  5   77.00
 00003 19970102  2   20.76
 00003 19970302  2   20.76
 00003 19970630  1   19.54
 00004 19970101  2   29.33
 00004 19970301  1   14.96
 00005 19970101  1   10.00
 00005 19970815  1   10.00
""".splitlines()
END = date(1997, 12, 1)


def test_the_calculation_over_the_file_counts_gaps():
    # 1: mailed. 2: the first of two on one day is followed at once, the second is mailed. 3: 59 days (no mail), 120 days (mail, won),
    # then mailed. 4: 59 days, then mailed. 5: 226 days: mailed, too late to be won back; mailed again.
    assert expected(read(LINES), END) == Counts(entered=10, mailed=7, won_back=1)


def test_reading_keeps_the_order_of_days_and_takes_the_first_customers_only():
    purchases = read(LINES)
    assert [purchase.day for purchase in purchases] == sorted(purchase.day for purchase in purchases)
    assert {purchase.customer for purchase in read(LINES, customers=2)} == {"00001", "00002"}
    assert purchases[0].event()["occurredAt"] == "1997-01-01T12:00:00Z"


@pytest.mark.django_db(transaction=True)
def test_the_product_records_what_the_file_says():  # PERFORMANCE, real input
    workspace = make_workspace()
    install(workspace)
    client = make_api_client(workspace, scopes=["events"])
    assert replay(client, read(LINES), END) == expected(read(LINES), END)
    assert counted().entered == 10
