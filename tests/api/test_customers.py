"""`/customers` (CONTRACTS 8; BIL-10, BIL-12, BIL-13, BIL-16)."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Customer, StageEntry, Workspace
from tests.factories import ApiClient, make_api_client, make_customer, make_member, make_visitor, owner_of


def test_a_customer_is_made_and_read_back(api: ApiClient) -> None:
    # BIL-12
    body = {
        "externalId": "00042",
        "email": "Ana@Example.com",
        "name": "Ana Ruiz",
        "segment": "enterprise",
        "plan": "gold",
        "country": "de",
        "timeZone": "Europe/Berlin",
        "locale": "de-AT",
        "metadata": {"crm": "7", "vip": True},
    }
    made = api.post("/customers", body)
    assert made.status_code == 201, made.content
    shown = made.json()
    assert shown["id"].startswith("cus_")
    assert shown["country"] == "DE"
    assert shown["metadata"] == {"crm": "7", "vip": "true"}
    assert shown["tags"] == []
    assert shown["createdAt"].endswith("Z")
    assert api.get(f"/customers/{shown['id']}").json() == shown


def test_an_owner_is_named_by_id_or_address(api: ApiClient, workspace: Workspace, other: Workspace) -> None:
    # BIL-12
    owner = owner_of(workspace)
    by_id = api.post("/customers", {"email": "a@x.test", "owner": owner.public_id})
    assert by_id.json()["owner"] == owner.email
    by_address = api.post("/customers", {"email": "b@x.test", "owner": owner.email.upper()})
    assert by_address.json()["owner"] == owner.email
    foreign = api.post("/customers", {"email": "c@x.test", "owner": owner_of(other).public_id})
    assert (foreign.status_code, foreign.json()["code"]) == (422, "unknown_reference")


def test_profile_fields_can_be_read(api: ApiClient, workspace: Workspace) -> None:
    # BIL-13
    customer = make_customer(workspace, plan="gold", country="US", stage="CUSTOMER", bucket="Retained")
    Customer.objects.filter(pk=customer.pk).update(
        facts={**customer.facts, "subscriptionStatus": "active", "pageviewCount": 4}
    )
    shown = api.get(f"/customers/{customer.public_id}").json()
    assert shown["plan"] == "gold"
    assert shown["subscriptionStatus"] == "active"
    assert shown["country"] == "US"
    assert shown["pageviewCount"] == 4
    assert (shown["stage"], shown["bucket"]) == ("CUSTOMER", "Retained")


def test_patch_tells_absent_from_null(api: ApiClient, customer: Customer) -> None:
    # CONTRACTS 1: absent and null differ in PATCH
    path = f"/customers/{customer.public_id}"
    assert api.patch(path, {"segment": "smb", "country": "US"}).json()["segment"] == "smb"
    after = api.patch(path, {"segment": None}).json()
    assert after["segment"] is None
    assert after["country"] == "US"


def test_metadata_is_merged_and_null_removes_a_key(api: ApiClient, customer: Customer) -> None:
    # BIL-10
    path = f"/customers/{customer.public_id}"
    api.patch(path, {"metadata": {"a": "1", "b": "2"}})
    assert api.patch(path, {"metadata": {"b": None, "c": 3}}).json()["metadata"] == {"a": "1", "c": "3"}


@pytest.mark.parametrize(
    ("metadata", "fine"),
    [
        ({f"k{i}": "x" for i in range(50)}, True),
        ({f"k{i}": "x" for i in range(51)}, False),
        ({"k" * 40: "x"}, True),
        ({"k" * 41: "x"}, False),
        ({"k": "x" * 500}, True),
        ({"k": "x" * 501}, False),
        ({"k[0]": "x"}, False),
        ({"": "x"}, False),
        ({"k": ["x"]}, False),
        ({"k": {"x": "y"}}, False),
    ],
)
def test_metadata_keeps_its_limits(api: ApiClient, customer: Customer, metadata: dict[str, Any], fine: bool) -> None:
    # BIL-10, REQUIREMENTS 4.2
    answer = api.patch(f"/customers/{customer.public_id}", {"metadata": metadata})
    assert answer.status_code == (200 if fine else 422), answer.content
    if not fine:
        assert answer.json()["code"] == "invalid"
        assert list(answer.json()["details"]["fields"]) == ["metadata"]


def test_metadata_cannot_grow_over_the_limit_by_merging(api: ApiClient, customer: Customer) -> None:
    # BIL-10
    path = f"/customers/{customer.public_id}"
    api.patch(path, {"metadata": {f"k{i}": "x" for i in range(50)}})
    answer = api.patch(path, {"metadata": {"more": "x"}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert api.patch(path, {"metadata": {"more": "x", "k0": None}}).status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "no address"),
        ("country", "Germany"),
        ("timeZone", "Mars/Olympus"),
        ("locale", "??"),
        ("name", "x" * 201),
        ("externalId", "x" * 201),
        ("email", 7.5),
    ],
)
def test_a_bad_field_is_named(api: ApiClient, field: str, value: object) -> None:
    answer = api.post("/customers", {"externalId": "e", field: value})
    assert answer.status_code == 422, answer.content
    assert answer.json()["code"] == "invalid"
    assert field in answer.json()["details"]["fields"]
    assert not Customer.objects.exists()


def test_a_customer_needs_an_address_or_an_external_id(api: ApiClient) -> None:
    # CONTRACTS 8
    answer = api.post("/customers", {"name": "Nobody"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


def test_an_unknown_key_is_refused_with_the_nearest(api: ApiClient) -> None:
    # CONTRACTS 1
    answer = api.post("/customers", {"emial": "a@x.test"})
    assert answer.status_code == 422
    assert answer.json()["code"] == "unknown_key"
    assert answer.json()["details"]["nearest"] == "email"
    assert "email" in answer.json()["message"]


@pytest.mark.parametrize("taken", [{"email": "ANA@example.com"}, {"externalId": "A-1"}])
def test_an_address_or_external_id_belongs_to_one(api: ApiClient, workspace: Workspace, taken: dict[str, str]) -> None:
    make_customer(workspace, email="ana@example.com", external_id="A-1")
    answer = api.post("/customers", {"email": "b@x.test", **taken})
    assert (answer.status_code, answer.json()["code"]) == (409, "customer_conflict")
    second = make_customer(workspace)
    changed = api.patch(f"/customers/{second.public_id}", taken)
    assert (changed.status_code, changed.json()["code"]) == (409, "customer_conflict")


def test_two_workspaces_may_have_the_same_address(api: ApiClient, other: Workspace) -> None:
    # DESIGN 3: nothing crosses
    make_customer(other, email="ana@example.com")
    assert api.post("/customers", {"email": "ana@example.com"}).status_code == 201


def test_an_identified_customer_keeps_one_name(api: ApiClient, customer: Customer) -> None:
    answer = api.patch(f"/customers/{customer.public_id}", {"email": None})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert api.patch(f"/customers/{customer.public_id}", {"email": None, "externalId": "x"}).status_code == 200


def test_a_stage_is_entered_once(api: ApiClient, customer: Customer) -> None:
    # BIL-16
    path = f"/customers/{customer.public_id}/stage"
    first = api.put(path, {"stage": "CUSTOMER", "bucket": "Churned"})
    assert first.status_code == 200, first.content
    assert first.json()["changed"] is True
    second = api.put(path, {"stage": "customer", "bucket": "churned"})
    assert second.json()["changed"] is False
    assert StageEntry.objects.filter(customer=customer).count() == 1
    assert api.get(f"/customers/{customer.public_id}").json()["bucket"] == "Churned"


def test_a_stage_is_named_in_three_ways(api: ApiClient, customer: Customer) -> None:
    stages = {row["slug"]: row["id"] for row in api.get("/stages").json()["stages"]}
    path = f"/customers/{customer.public_id}/stage"
    assert api.put(path, {"stage": stages["TRIAL"]}).json()["stage"] == "TRIAL"
    assert api.put(path, {"stage": "default/CUSTOMER"}).json()["stage"] == "CUSTOMER"
    assert api.put(path, {"stage": "AWARENESS", "bucket": None}).json()["stage"] == "AWARENESS"
    unknown = api.put(path, {"stage": "NOWHERE"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    bucket = api.put(path, {"stage": "TRIAL", "bucket": "Churned"})
    assert (bucket.status_code, bucket.json()["code"]) == (422, "unknown_reference")


def test_a_tag_is_added_once_and_taken_away(api: ApiClient, customer: Customer) -> None:
    # ACT-10
    path = f"/customers/{customer.public_id}/tags/At Risk"
    assert api.post(path).json()["tags"] == ["at-risk"]
    assert api.post(f"/customers/{customer.public_id}/tags/at-risk").json()["tags"] == ["at-risk"]
    assert api.delete(path).json()["tags"] == []
    assert api.delete(path).status_code == 200


def test_lists_are_filtered(api: ApiClient, workspace: Workspace) -> None:
    wanted = make_customer(workspace, email="w@x.test", external_id="W", segment="smb", tags=["vip"], stage="TRIAL")
    make_customer(workspace, segment="enterprise", tags=["other"], stage="CUSTOMER")
    make_visitor(workspace)
    for query in ("email=W@x.test", "externalId=W", "tag=vip", "stage=trial", "segment=smb"):
        found = api.get(f"/customers?{query}").json()["customers"]
        assert [row["id"] for row in found] == [wanted.public_id], query
    refused = api.get("/customers?segmnt=smb")
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_key")
    assert refused.json()["details"]["nearest"] == "segment"


def test_a_visitor_that_gets_an_address_is_identified(api: ApiClient, workspace: Workspace) -> None:
    # C-31, TRG-11
    visitor = make_visitor(workspace)
    answer = api.patch(f"/customers/{visitor.public_id}", {"email": "new@x.test"})
    assert answer.json()["identifiedAt"] is not None
    assert answer.json()["id"] == visitor.public_id


def test_a_visitor_with_a_known_address_becomes_that_customer(api: ApiClient, workspace: Workspace) -> None:
    # DESIGN 5.5
    known, visitor = make_customer(workspace, email="ana@example.com"), make_visitor(workspace)
    answer = api.patch(f"/customers/{visitor.public_id}", {"email": "ANA@example.com"})
    assert answer.json()["id"] == known.public_id
    assert api.get(f"/customers/{visitor.public_id}").json()["mergedInto"] == known.public_id
    again = api.patch(f"/customers/{visitor.public_id}", {"name": "x"})
    assert (again.status_code, again.json()["code"]) == (409, "wrong_state")


def test_merging_answers_with_the_one_that_stays(api: ApiClient, workspace: Workspace) -> None:
    source, target = make_customer(workspace, country="US"), make_customer(workspace, external_id="T")
    answer = api.post(f"/customers/{source.public_id}/merge", {"into": {"externalId": "T"}})
    assert answer.json()["id"] == target.public_id
    assert answer.json()["country"] == "US"
    itself = api.post(f"/customers/{target.public_id}/merge", {"into": target.public_id})
    assert (itself.status_code, itself.json()["code"]) == (422, "invalid")
    nobody = api.post(f"/customers/{target.public_id}/merge", {"into": {"email": "no@x.test"}})
    assert (nobody.status_code, nobody.json()["code"]) == (422, "unknown_reference")
    form = api.post(f"/customers/{target.public_id}/merge", {"into": "inv_7"})
    assert (form.status_code, form.json()["code"]) == (422, "invalid")


def test_export_then_erasure(api: ApiClient, workspace: Workspace) -> None:
    # SUP-06
    customer = make_customer(
        workspace, name="Ana Ruiz", email="ana@example.com", tags=["vip"], metadata={"k": "secret"}
    )
    export = api.get(f"/customers/{customer.public_id}/export")
    assert "attachment" in export["Content-Disposition"]
    assert export.json()["customer"]["email"] == "ana@example.com"
    assert export.json()["customer"]["tags"] == ["vip"]
    erased = api.delete(f"/customers/{customer.public_id}")
    assert erased.status_code == 200
    text = api.get(f"/customers/{customer.public_id}").content.decode()
    for personal in ("Ana", "ana@", "secret", "vip"):
        assert personal not in text
    assert erased.json()["name"] == "Erased customer"


def test_consent_is_an_explicit_act(api: ApiClient, workspace: Workspace) -> None:
    # SUP-10
    customer = make_customer(workspace, email="Ana@example.com")
    path = f"/customers/{customer.public_id}/consent"
    off = api.put(path, {"state": "unsubscribed"})
    assert off.json() == {"address": "ana@example.com", "topic": "", "state": "unsubscribed", "changed": True}
    assert api.put(path, {"state": "unsubscribed"}).json()["changed"] is False
    assert api.put(path, {"state": "subscribed"}).json()["changed"] is True
    visitor = make_visitor(workspace)
    nothing = api.put(f"/customers/{visitor.public_id}/consent", {"state": "unsubscribed"})
    assert (nothing.status_code, nothing.json()["code"]) == (409, "wrong_state")


def test_a_reader_changes_nothing(workspace: Workspace, customer: Customer) -> None:
    reader = make_api_client(workspace, scopes=["read"])
    assert reader.get("/customers").status_code == 200
    refused = reader.patch(f"/customers/{customer.public_id}", {"name": "x"})
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    assert refused.json()["details"]["scope"] == "customers"


def test_a_member_of_another_workspace_cannot_own(api: ApiClient, customer: Customer, other: Workspace) -> None:
    stranger = make_member(other)
    answer = api.patch(f"/customers/{customer.public_id}", {"owner": stranger.email})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_reference")
