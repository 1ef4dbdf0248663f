"""`Idempotency-Key` (CONTRACTS 1; RELIABILITY 33; INVARIANTS X2)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import close_old_connections, connection, connections
from django.db.models.functions import Now

from accounts.announcements import Announcement, ignore, listen
from accounts.models import Customer, Idempotency, Workspace
from tests.factories import ApiClient, make_api_key, make_customer, make_workspace


def test_the_same_request_is_done_once(api: ApiClient) -> None:
    body = {"email": "a@x.test"}
    first = api.post("/customers", body, HTTP_IDEMPOTENCY_KEY="k-1")
    again = api.post("/customers", body, HTTP_IDEMPOTENCY_KEY="k-1")
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert again["Idempotent-Replayed"] == "true"
    assert again["Content-Type"] == first["Content-Type"]
    assert not first.has_header("Idempotent-Replayed")
    assert Customer.objects.count() == 1


def test_another_body_is_a_conflict(api: ApiClient) -> None:
    api.post("/customers", {"email": "a@x.test"}, HTTP_IDEMPOTENCY_KEY="k-1")
    answer = api.post("/customers", {"email": "b@x.test"}, HTTP_IDEMPOTENCY_KEY="k-1")
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    assert Customer.objects.count() == 1


def test_a_key_counts_per_method_path_and_workspace(api: ApiClient, other: Workspace) -> None:
    assert api.post("/customers", {"email": "a@x.test"}, HTTP_IDEMPOTENCY_KEY="k").status_code == 201
    assert api.post("/tasks", {"title": "t"}, HTTP_IDEMPOTENCY_KEY="k").status_code == 201
    foreign = ApiClient(make_api_key(other)[1])
    assert foreign.post("/customers", {"email": "b@x.test"}, HTTP_IDEMPOTENCY_KEY="k").status_code == 201


def test_every_changing_method_has_it(api: ApiClient, customer: Customer) -> None:
    path = f"/customers/{customer.public_id}"
    calls = [
        lambda: api.patch(path, {"name": "B"}, HTTP_IDEMPOTENCY_KEY="k"),
        lambda: api.put(f"{path}/stage", {"stage": "TRIAL"}, HTTP_IDEMPOTENCY_KEY="k"),
        lambda: api.post(f"{path}/tags/x", HTTP_IDEMPOTENCY_KEY="k"),
        lambda: api.delete(f"{path}/tags/x", HTTP_IDEMPOTENCY_KEY="k"),
    ]
    for call in calls:
        assert not call().has_header("Idempotent-Replayed")
        assert call().has_header("Idempotent-Replayed")


def test_a_replay_shows_the_answer_of_then(api: ApiClient, customer: Customer) -> None:
    path = f"/customers/{customer.public_id}"
    first = api.put(f"{path}/stage", {"stage": "TRIAL"}, HTTP_IDEMPOTENCY_KEY="k")
    api.put(f"{path}/stage", {"stage": "CUSTOMER"})
    again = api.put(f"{path}/stage", {"stage": "TRIAL"}, HTTP_IDEMPOTENCY_KEY="k")
    assert again.json() == first.json()
    assert api.get(path).json()["stage"] == "CUSTOMER"


def test_a_refusal_may_be_asked_again(api: ApiClient, workspace: Workspace) -> None:
    body = {"email": "ana@example.com"}
    first = make_customer(workspace, email="ana@example.com")
    assert api.post("/customers", body, HTTP_IDEMPOTENCY_KEY="k").status_code == 409
    api.delete(f"/customers/{first.public_id}")
    assert api.post("/customers", body, HTTP_IDEMPOTENCY_KEY="k").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tinside"])
def test_a_key_has_its_limits(api: ApiClient, key: str) -> None:
    answer = api.post("/customers", {"email": "a@x.test"}, HTTP_IDEMPOTENCY_KEY=key)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert api.post("/customers", {"email": "a@x.test"}, HTTP_IDEMPOTENCY_KEY="x" * 255).status_code == 201


def test_a_reader_does_not_need_it(api: ApiClient) -> None:
    api.get("/customers", HTTP_IDEMPOTENCY_KEY="k")
    assert not Idempotency.objects.exists()


def test_without_the_scope_there_is_no_replay(api: ApiClient, workspace: Workspace) -> None:
    api.post("/customers", {"email": "a@x.test"}, HTTP_IDEMPOTENCY_KEY="k")
    reader = ApiClient(make_api_key(workspace, ["read"])[1])
    assert reader.post("/customers", {"email": "a@x.test"}, HTTP_IDEMPOTENCY_KEY="k").status_code == 403


def test_after_a_day_a_key_is_new(api: ApiClient) -> None:
    # kept 24 h of real time
    api.post("/tasks", {"title": "t"}, HTTP_IDEMPOTENCY_KEY="k")
    Idempotency.objects.update(created_at=Now() - timedelta(hours=23, minutes=59))
    assert api.post("/tasks", {"title": "t"}, HTTP_IDEMPOTENCY_KEY="k").has_header("Idempotent-Replayed")
    Idempotency.objects.update(created_at=Now() - timedelta(hours=24, minutes=1))
    assert not api.post("/tasks", {"title": "t"}, HTTP_IDEMPOTENCY_KEY="k").has_header("Idempotent-Replayed")


class Together:
    """Requests made at once, each in a thread with a connection of its own."""

    def __init__(self, key: str, number: int) -> None:
        self.key, self.number = key, number
        self.start = threading.Barrier(number)

    def _one(self, body: dict[str, Any], idempotency: str) -> Any:
        try:
            self.start.wait(timeout=30)
            return ApiClient(self.key).post("/customers", body, HTTP_IDEMPOTENCY_KEY=idempotency)
        finally:
            connections.close_all()

    def post(self, requests: list[tuple[dict[str, Any], str]]) -> list[Any]:
        with ThreadPoolExecutor(self.number) as pool:
            return list(pool.map(lambda request: self._one(*request), requests))


@pytest.mark.django_db(transaction=True)
def test_many_at_once_do_it_once() -> None:
    # RELIABILITY 33: 50 parallel requests with one key
    workspace = make_workspace()
    key = make_api_key(workspace)[1]
    for number in range(4):
        body = {"email": f"a{number}@x.test"}
        answers = Together(key, 12).post([(body, f"k-{number}")] * 12)
        codes = sorted(answer.status_code for answer in answers)
        assert set(codes) <= {201, 409}
        assert codes.count(201) >= 1
        refused = {answer.json()["code"] for answer in answers if answer.status_code == 409}
        assert refused <= {"idempotency_in_progress"}
        assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert Customer.objects.count() == 4
    assert Idempotency.objects.count() == 4


@pytest.mark.django_db(transaction=True)
def test_one_still_running_is_told() -> None:
    # CONTRACTS 1
    workspace = make_workspace()
    key = make_api_key(workspace)[1]
    inside, leave = threading.Event(), threading.Event()

    def slow(announcements: list[Announcement]) -> None:
        inside.set()
        leave.wait(timeout=30)

    listen(slow)
    try:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(Together(key, 1).post, [({"email": "a@x.test"}, "k")])
            assert inside.wait(timeout=30)
            answer = ApiClient(key).post("/customers", {"email": "a@x.test"}, HTTP_IDEMPOTENCY_KEY="k")
            assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_progress")
            leave.set()
            assert running.result(timeout=30)[0].status_code == 201
    finally:
        ignore(slow)
        leave.set()
    again = ApiClient(key).post("/customers", {"email": "a@x.test"}, HTTP_IDEMPOTENCY_KEY="k")
    assert again["Idempotent-Replayed"] == "true"


@pytest.mark.django_db(transaction=True)
def test_a_request_that_dies_leaves_neither_row_nor_answer() -> None:
    # effects and answer are one transaction
    workspace = make_workspace()
    client = ApiClient(make_api_key(workspace)[1])
    client.raise_request_exception = False

    def die(announcements: list[Announcement]) -> None:
        raise RuntimeError("power cut")

    listen(die)
    try:
        assert client.post("/customers", {"email": "a@x.test"}, HTTP_IDEMPOTENCY_KEY="k").status_code == 500
    finally:
        ignore(die)
    assert not Customer.objects.exists()
    assert not Idempotency.objects.exists()
    close_old_connections()
    assert client.post("/customers", {"email": "a@x.test"}, HTTP_IDEMPOTENCY_KEY="k").status_code == 201


@pytest.mark.django_db(transaction=True)
def test_the_index_has_the_last_word() -> None:
    # INVARIANTS X2: the unique row, even against code that forgets the lock
    workspace = make_workspace()
    row = {"workspace": workspace, "endpoint": "POST /x", "key": "k", "body_sha256": "0", "status": 200}
    Idempotency.objects.create(**row)
    made = Idempotency.objects.bulk_create([Idempotency(**row)], ignore_conflicts=True)
    assert len(made) == 1
    assert Idempotency.objects.count() == 1
    connection.ensure_connection()
