"""Attempts to get out of the language (RELIABILITY 37): each is refused when read, or finds nothing."""

from __future__ import annotations

import pytest

from automations.engine.expressions import MISSING, ExpressionError, compile_expression, compile_template
from automations.engine.values import plain
from tests.engine.language import NAMES, environment

CANARY = "CANARY-7f3"


class Vault:
    """An object in the data, with a secret in every place where one could look."""

    secret = CANARY

    def __init__(self) -> None:
        self.secret = CANARY

    def reveal(self) -> str:
        return CANARY

    def __getitem__(self, key: object) -> str:
        return CANARY

    def __str__(self) -> str:
        return CANARY

    __repr__ = __format__ = __str__  # type: ignore[assignment]

    def __html__(self) -> str:
        return CANARY

    def __len__(self) -> int:
        return len(CANARY)

    def __iter__(self):
        return iter([CANARY])

    def __add__(self, other: object) -> str:
        return CANARY

    __radd__ = __add__


ATTEMPTS = [
    "''.__class__",
    "''.__class__.__mro__[1].__subclasses__()",
    "customer.__class__",
    "customer.__class__.__init__.__globals__",
    "customer['__class__']",
    "customer.name.__class__.__base__",
    "customer.name.format",
    "customer.name.format('{0.__class__}')",
    "customer.name.upper()",
    "customer.items()",
    "customer.keys",
    "customer.get('name')",
    "invoice.total.as_tuple()",
    "now.__reduce__",
    "now.tzinfo",
    "now.isoformat()",
    "[].append(1)",
    "[].__len__",
    "().__class__",
    "{}.__class__",
    "trigger.vault.secret",
    "trigger.vault['secret']",
    "trigger.vault.reveal()",
    "trigger.vault",
    "trigger.vault | upper",
    "trigger.vault | length",
    "trigger.vault | first",
    "trigger.vault | join",
    "trigger.vault | json",
    "trigger.vaults | json",
    "trigger.vaults | join",
    "trigger.vaults | sort | first",
    "trigger.vaults | unique | last",
    "trigger.vault + ''",
    "'' + trigger.vault",
    "trigger.vault == 'CANARY-7f3' AND 'CANARY-7f3'",
    "trigger.vault.__dict__",
    "trigger.function",
    "trigger.function.__globals__",
    "trigger.function()",
    "trigger.module",
    "trigger.module.environ",
    "trigger.kind",
    "trigger.kind.secret",
    "customer | attr('__class__')",
    "customer | map('upper')",
    "customer | selectattr('__class__')",
    "'%s' | format(customer)",
    "customer | safe",
    "customer | pprint",
    "customer | tojson",
    "self",
    "self._TemplateReference__context",
    "cycler.__init__.__globals__.os.popen('id').read()",
    "joiner",
    "namespace(a=1)",
    "lipsum()",
    "lipsum.__globals__",
    "range(10)",
    "dict(a=1)",
    "config",
    "request.application.__globals__",
    "g.pop",
    "get_flashed_messages",
    "__import__('os')",
    "eval('1')",
    "open('/etc/passwd')",
    "_",
    "__builtins__",
    "environ['PATH']",
    "customer.name is callable",
    "customer.name is mapping",
    "customer.name[0:100]",
    "customer.name[::-1]",
    "(customer.name)(1)",
    "lambda: 1",
    "[x for x in [1]]",
    "*customer",
    "customer.name if true else 1",
    "a.b = 1",
    "loop",
    "caller()",
    "varargs",
    "super()",
    "'\\x5f\\x5fclass\\x5f\\x5f'",
    "customer['__cl' 'ass__']",
    "customer['\\u005f\\u005fclass\\u005f\\u005f']",
    "customer.name | replace('', '{{')",
    "{{ '{{customer.__class__}}' }}",
    "trigger | json | upper | lower | first",
]

FORBIDDEN = (
    "<class",
    "<function",
    "<module",
    "built-in",
    "object at 0x",
    "method",
    "mappingproxy",
    "tzinfo",
    "subclasses",
)


def hostile() -> object:
    import os

    vault = Vault()
    return environment(
        trigger={"vault": vault, "vaults": [vault, {"in": vault}], "function": environment, "module": os, "kind": Vault}
    )


@pytest.mark.parametrize("source", ATTEMPTS)
def test_an_attempt_in_an_expression_is_refused_or_finds_nothing(source: str) -> None:
    try:
        found = compile_expression(source, NAMES).value(hostile())  # type: ignore[arg-type]
    except ExpressionError as error:
        text = error.message
    else:
        assert found is MISSING or type(found).__module__ in ("builtins", "decimal", "datetime")
        assert not callable(found)
        assert not isinstance(found, type)
        text = repr(plain(found))
    assert CANARY not in text.replace(source, "") or source.endswith(f"'{CANARY}'")
    assert not any(word in text for word in FORBIDDEN)


@pytest.mark.parametrize("source", ATTEMPTS)
@pytest.mark.parametrize("place", ["text", "html", "json", "url", "header"])
def test_an_attempt_in_a_template_is_refused_or_renders_nothing_of_it(source: str, place: str) -> None:
    try:
        text = compile_template(f"<{{{{ {source} }}}}>", NAMES, place).render(hostile())  # type: ignore[arg-type]
    except ExpressionError as error:
        text = error.message
    assert CANARY not in text
    assert not any(word in text for word in FORBIDDEN)


STATEMENTS = [
    "{% set x = customer.__class__ %}{{x}}",
    "{% import 'os' as os %}{{os}}",
    "{% include '/etc/passwd' %}",
    "{% extends '/etc/passwd' %}",
    "{% macro m() %}{{caller()}}{% endmacro %}{{m()}}",
    "{% for k in ().__class__.__base__.__subclasses__() %}{{k}}{% endfor %}",
    "{% for k in trigger.vault %}{{k}}{% endfor %}",
    "{% for k in trigger.kind %}{{k}}{% endfor %}",
    "{% for k in customer %}{{k}}{% endfor %}",
    "{% if customer.name.__class__ %}CANARY-7f3{% endif %}",
    "{% if trigger.vault %}CANARY-7f3{% endif %}",
    "{% for loop in [1] %}{{loop.__class__}}{{loop.cycle}}{% endfor %}",
    "{% for x in [1] %}{{loop.previtem}}{{loop.changed(1)}}{{loop.__init__}}{% endfor %}",
    "{% with a = trigger.vault %}{{a}}{% endwith %}",
    "{% call(x) trigger.function() %}{% endcall %}",
    "{% raw %}{{ x }}{% endraw %}",
    "{% trans %}x{% endtrans %}",
    "{%- debug -%}",
    "{{ '{% raw %}' }}{{ trigger.vault }}",
    "# for x in trigger.vault\n{{x}}\n# endfor",
    "{{ trigger.vault }}",
    "{{ trigger.vaults }}",
    "{{ trigger }}",
]


@pytest.mark.parametrize("source", STATEMENTS)
def test_an_attempt_by_a_statement_is_refused_or_renders_nothing_of_it(source: str) -> None:
    try:
        text = compile_template(source, NAMES).render(hostile())  # type: ignore[arg-type]
    except ExpressionError as error:
        text = error.message
    assert CANARY not in text
    assert not any(word in text for word in FORBIDDEN)


def test_a_subclass_of_text_is_read_as_text_and_none_of_its_methods_is_called() -> None:
    class Sly(str):
        __slots__ = ()

        def __str__(self) -> str:
            return CANARY

        def __html__(self) -> str:
            return CANARY

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

    env = environment(trigger={"x": Sly("plain"), "list": [Sly("plain")]})
    assert compile_template("{{x}} {{list}} {{x | upper}}", NAMES, "html").render(env) == "plain plain PLAIN"
    assert not compile_expression("trigger.x == 'other'", NAMES).test(env)
    assert type(compile_expression("trigger.x", NAMES).value(env)) is str
