"""The base of every endpoint of the project. An endpoint in ten lines:

    class NoteIn(StrictSerializer):                       # snake_case here, camelCase on the wire
        text = serializers.CharField(max_length=200)
        about = ReferenceField("cus", email=True, required=False)

    class Notes(ApiView):
        scopes = {"GET": "read", "POST": "customers"}     # one of accounts.permissions.SCOPES per method
        filters = ("about",)                              # query parameters beside limit and cursor; others are refused

        @describe("notes_list", "Notes, newest first", answer=page("notes", NoteOut), query=["about"], paged=True)
        def get(self, request: Request) -> Response:
            return list_response(request, Note.objects.filter(workspace_id=request.actor.workspace_id), "notes", shown)

        @describe("notes_create", "Write a note", request=NoteIn, answer=NoteOut, status=201)
        def post(self, request: Request) -> Response:
            note = write_note(actor=request.actor, **parse(request, NoteIn))
            return Response(shown([note])[0], status=201)

`request.actor` is the `Actor`. Services raise `Refusal`, which becomes `{code, message, details}`; nothing else is
needed for errors, idempotency, rates or limits. With `Idempotency-Key` the handler runs inside one transaction. A body
that the view reads by itself (YAML): `parser_classes = [JsonParser, YamlParser]` and `text_body(request)`. Parts of an
answer that must not be stored for replays: `secret_keys`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, TypeVar

from django.http import HttpRequest, HttpResponseBase
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request as FrameworkRequest
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from accounts.actor import Actor
from accounts.api.bodies import JsonParser, YamlParser, read_json, sends_yaml, text_body, wants_yaml
from accounts.api.idempotency import key_of, once
from accounts.api.pagination import list_response
from accounts.api.requests import Reading, Request
from accounts.api.schema import describe, free, page
from accounts.api.serializers import Reference, ReferenceField, StrictSerializer, TimeField, stamp, unknown_key
from accounts.errors import Refusal

__all__ = [
    "ApiView",
    "JsonParser",
    "Reference",
    "ReferenceField",
    "Request",
    "Response",
    "StrictSerializer",
    "TimeField",
    "YamlParser",
    "actor_of",
    "describe",
    "free",
    "list_response",
    "page",
    "parse",
    "read_json",
    "sends_yaml",
    "stamp",
    "text_body",
    "unknown_key",
    "wants_yaml",
]
CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
Body = TypeVar("Body", bound=BaseSerializer[Any])


class OneForm(BaseContentNegotiation):
    """The answer is JSON whatever `Accept` says; the few views with another form look at it themselves."""

    def select_parser(self, request: FrameworkRequest, parsers: Any) -> Any:
        """By media type; a missing one, and any `+json`, is JSON. None becomes `media_type`."""
        kind = (request.content_type or "").split(";")[0].strip().lower()
        if kind in ("", "text/json", "application/x-yaml", "text/yaml", "text/x-yaml") or kind.endswith("+json"):
            kind = "application/yaml" if "yaml" in kind else "application/json"
        return next((parser for parser in parsers if parser.media_type == kind), None)

    def select_renderer(self, request: FrameworkRequest, renderers: Any, format_suffix: Any = None) -> Any:
        """Always the first."""
        return renderers[0], renderers[0].media_type


class ApiView(APIView):
    """Authentication, scope, rate, idempotency, strict query parameters; see the module's text."""

    scopes: ClassVar[Mapping[str, str]] = {}  # method -> scope
    scope: ClassVar[str] = ""  # of all methods that `scopes` does not name
    filters: ClassVar[Collection[str]] = ()
    secret_keys: ClassVar[Collection[str]] = ()
    parser_classes = [JsonParser]
    content_negotiation_class = OneForm
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]

    def scope_for(self, method: str | None) -> str | None:
        """The scope that a method needs; None for one that does not exist here (405)."""
        name = "GET" if method == "HEAD" else method or ""
        if name.lower() not in self.http_method_names or not hasattr(self, name.lower()):
            return None
        scope = self.scopes.get(name) or self.scope
        if not scope:
            raise NotImplementedError(f"{type(self).__name__} declares no scope for {name}.")
        return scope

    def ahead(self, request: Request) -> Reading | None:
        """What the view reads in any case, for an address that is asked very often: it goes along in the round trip that admits the key.
        Asked before it is known who asks, so it costs next to nothing and refuses nothing; only who is admitted gets what was read."""
        return None

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """Our kind of request."""
        return Request(
            request,
            parsers=self.get_parsers(),
            authenticators=self.get_authenticators(),
            negotiator=self.get_content_negotiator(),
            parser_context=self.get_parser_context(request),
        )

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """As the framework's, with the handler wrapped for idempotency."""
        self.args, self.kwargs = args, kwargs
        wrapped = self.initialize_request(request, *args, **kwargs)
        self.request = wrapped
        self.headers = self.default_response_headers
        try:
            self.initial(wrapped, *args, **kwargs)
            answer = self._handle(wrapped)
        except Exception as exc:  # whatever it is becomes an answer; what is our fault is logged there
            answer = self.handle_exception(exc)
        answer = self.finalize_response(wrapped, answer, *args, **kwargs)
        for name, value in wrapped.rate.headers.items() if wrapped.rate is not None else ():
            answer[name] = value
        self.response = answer
        return answer

    def _handle(self, request: Request) -> Any:
        method = (request.method or "").lower()
        handler = getattr(self, method, None) if method in self.http_method_names else None
        if handler is None:
            handler = self.http_method_not_allowed
        elif method == "get":
            self._check_query(request)
        key = key_of(request) if request.method in CHANGING else None
        if key is None:
            return handler(request, *self.args, **self.kwargs)

        def rendered() -> HttpResponseBase:
            answer = handler(request, *self.args, **self.kwargs)
            answer = self.finalize_response(request, answer, *self.args, **self.kwargs)
            return answer.render() if isinstance(answer, Response) else answer

        return once(request, key, rendered, self.secret_keys)

    def _check_query(self, request: Request) -> None:
        known = ["limit", "cursor", *self.filters]
        for name, value in request.query_params.items():
            if name not in known:
                raise unknown_key(name, known, "the query")
            if "\x00" in value:
                raise Refusal("invalid", f"{name} contains a NUL character; take it out.", {"fields": {name: ["NUL"]}})


def actor_of(request: Request) -> Actor:
    """The typed form of `request.actor`."""
    return request.actor


def parse(request: Request, serializer: type[Body], *, partial: bool = False) -> dict[str, Any]:
    """The checked body with snake_case keys; `unknown_key` or `invalid`. With `partial` (PATCH) nothing is required."""
    data = request.data
    if not isinstance(data, dict):
        raise Refusal("invalid", "The body must be an object.", {"fields": {}})
    checked = serializer(data=data, partial=partial)
    checked.is_valid(raise_exception=True)
    values: dict[str, Any] = checked.validated_data
    return values
