"""Loops: one iteration per item or record, nested, parked inside, over queries."""

from __future__ import annotations

from datetime import timedelta

import pytest

from automations.engine.definition import Settings
from tests.engine.worlds import NOW, RECORDS, chain, new_run, node, plan_of, play, steps_of, walk_once

LOOP = [("trigger", "next", "l"), ("l", "each", "n"), ("l", "next", "z")]
PAGE = [{"invoice": 8, "customer": 7}, {"invoice": 9, "customer": 7}, {"invoice": 10, "customer": 7}]


def over(source="{{customer.tags}}", **parts):
    return node("l", "loop", over=source, as_="tag", **parts)


def page(query, after, limit):
    return [item for item in PAGE if item["invoice"] > after][:limit]


def test_a_loop_repeats_its_body_once_per_item_with_the_items_data():  # DEF-17, DEF-29, STP-04
    done = play(
        chain(
            over(),
            node("n", "note", text="{{loop.index}}{{tag}}{{loop.first}}{{loop.last}}"),
            node("z", "mail"),
            edges=LOOP,
        )
    )
    assert [row.input["text"] for row in done.rows if row.step == "n"] == ["0atruefalse", "1bfalsefalse", "2cfalsetrue"]
    assert [row.iteration for row in done.rows] == ["0", "1", "2", None, None]
    assert done.rows[3].output == {"count": 3}


def test_a_loop_is_one_visit_and_its_body_steps_count_once_per_iteration():  # C-39
    done = play(chain(over(), node("n", "note"), node("z", "mail"), edges=LOOP))
    assert done.run.steps_executed == 5
    assert {row.step: row.seq for row in done.rows} == {"n": 4, "l": 1, "z": 5}
    assert len({(row.seq, row.attempt) for row in done.rows}) == 5  # S1


def test_an_empty_collection_ends_the_loop_at_once():  # STP-04
    done = play(chain(over("{{customer.nothing}}"), node("n", "note"), node("z", "mail"), edges=LOOP))
    assert steps_of(done) == ["l", "z"]
    assert done.rows[0].output == {"count": 0}


def test_a_loop_without_a_body_ends():
    done = play(chain(over(), node("z", "mail"), edges=[("trigger", "next", "l"), ("l", "next", "z")]))
    assert steps_of(done) == ["l", "z"]


def test_a_branch_inside_a_loop_logs_the_branch_of_each_iteration():  # DEF-06
    definition = chain(
        over(),
        node("c", "condition", if_="tag == 'b'"),
        node("n", "note"),
        edges=[("trigger", "next", "l"), ("l", "each", "c"), ("c", "true", "n")],
    )
    done = play(definition)
    assert [(row.step, row.port) for row in done.rows] == [
        ("c", "false"),
        ("c", "true"),
        ("n", "next"),
        ("c", "false"),
        ("l", "next"),
    ]


def test_nested_loops_have_nested_iterations():
    definition = chain(
        node("l", "loop", over="{{customer.tags}}", as_="one"),
        node("k", "loop", over="{{customer.tags}}", as_="two"),
        node("n", "note", text="{{one}}{{two}}"),
        edges=[("trigger", "next", "l"), ("l", "each", "k"), ("k", "each", "n")],
    )
    done = play(definition)
    assert [row.input["text"] for row in done.rows if row.step == "n"] == [a + b for a in "abc" for b in "abc"]
    assert [row.iteration for row in done.rows if row.step == "k"] == ["0", "1", "2"]
    assert next(row for row in done.rows if row.step == "n").iteration == "0.0"
    assert done.run.state == {}
    assert done.run.items == {}


def test_a_delay_inside_a_loop_parks_and_resumes_in_the_same_iteration():  # STP-09
    definition = chain(
        over(),
        node("n", "delay", duration="1d"),
        node("z", "note", text="{{tag}}"),
        edges=[("trigger", "next", "l"), ("l", "each", "n"), ("n", "next", "z")],
    )
    done = play(definition)
    assert [row.input["text"] for row in done.rows if row.step == "z"] == ["a", "b", "c"]
    assert done.run.ended_at == NOW + timedelta(days=3)


def test_what_a_parked_loop_needs_lies_in_the_run_and_not_in_the_walk():
    definition = chain(over(), node("n", "delay", duration="1d"), edges=[("trigger", "next", "l"), ("l", "each", "n")])
    run = new_run(plan_of(definition))
    walk_once(definition, run)
    assert run.items == {"l:1": ["a", "b", "c"]}
    assert run.state["frames"][0]["i"] == 0
    walk_once(definition, run, now=run.due_at)
    assert run.state["frames"][0]["i"] == 1


def test_stop_inside_a_body_ends_the_run_and_not_the_iteration():  # C-33
    done = play(chain(over(), node("s", "stop"), edges=[("trigger", "next", "l"), ("l", "each", "s")]))
    assert steps_of(done) == ["s"]
    assert done.run.end_reason == "stopped"


def test_a_failing_body_step_without_fallback_fails_the_run():
    definition = chain(over(), node("n", "call"), edges=[("trigger", "next", "l"), ("l", "each", "n")])
    assert play(definition, outcomes={"n": {"error": {}}}).run.status == "FAILED"


@pytest.mark.parametrize("pacing", ["immediate", "tick"])
def test_a_loop_over_a_query_binds_the_roots_of_each_record(pacing):  # STP-24
    definition = chain(
        node("l", "loop", over={"query": "invoices", "where": "invoice.status == 'open'"}, as_="late"),
        node("n", "note", text="{{late.id}} {{invoice.id}} {{customer.name}}"),
        edges=[("trigger", "next", "l"), ("l", "each", "n")],
        settings=Settings(pacing=pacing),
    )
    done = play(definition, page=page)
    assert [row.input["text"] for row in done.rows if row.step == "n"] == ["inv_8 inv_8 Ana", "inv_10 inv_10 Ana"]
    assert done.rows[-1].output == {"count": 2}


def test_a_query_is_walked_in_pages_without_a_cap():  # STP-24
    many = {**RECORDS, "invoice": {id: {"id": f"inv_{id}", "status": "open"} for id in range(1, 1206)}}
    everything = [{"invoice": id} for id in range(1, 1206)]
    definition = chain(
        node("l", "loop", over={"query": "invoices"}, as_="x"),
        node("n", "note", text="{{x.id}}"),
        edges=[("trigger", "next", "l"), ("l", "each", "n")],
    )
    done = play(
        definition,
        records=many,
        page=lambda query, after, limit: [item for item in everything if item["invoice"] > after][:limit],
    )
    texts = [row.input["text"] for row in done.rows if row.step == "n"]
    assert texts == [f"inv_{id}" for id in range(1, 1206)]


def test_a_list_longer_than_the_cap_fails_with_a_clear_error():  # STP-09
    records = {**RECORDS, "customer": {7: {"tags": ["x"] * 1001}}}
    done = play(chain(over(), node("n", "note"), edges=LOOP[:2]), records=records)
    assert done.run.status == "FAILED"
    assert "1001 items, more than the 1000" in done.run.error["message"]
