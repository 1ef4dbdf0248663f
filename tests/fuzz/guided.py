"""`python -m tests.fuzz.guided yaml --runs 200000 --seed 7`: the targets of `tests/fuzz/targets.py` under atheris, which changes its
inputs by what code they reach. Needs the packages of `config/requirements-fuzz.lock` (`make fuzz` installs them).

`--planted` puts a fault into the product first; the command must then end with the fault, and does not with exit code 0.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris  # type: ignore[import-not-found,unused-ignore]  # in no environment but that of `make fuzz`

with atheris.instrument_imports(include=["automations.engine", "jinja2.lexer", "jinja2.parser", "ruamel.yaml"]):
    from automations.engine.expressions import budget, paths
    from automations.engine.reading import yaml_text

from tests.fuzz.spelling import spell
from tests.fuzz.targets import TARGETS


def plant(name: str) -> None:
    """A fault for each target."""
    if name == "yaml":
        plain = yaml_text._refuse_marks

        def failing(builder: Any, event: Any, line: int) -> None:
            if event.tag is not None and event.tag.endswith("int"):
                raise KeyError(event.tag)
            plain(builder, event, line)

        yaml_text._refuse_marks = failing
    elif name == "expressions":
        paths.look = _reaching(paths.look)
    else:
        budget.Budget.make = lambda self, characters: None  # type: ignore[method-assign]  # the fault


def _reaching(plain: Any) -> Any:
    def look(env: Any, value: Any, wanted: Any) -> Any:
        found = plain(env, value, wanted)
        return getattr(value, wanted.written, found) if found is paths.MISSING else found

    return look


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode("utf-8", "replace"))


def main() -> None:
    """Ends the process: 0 after so many inputs, else with the input that was judged a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided")
    parser.add_argument("target", choices=list(TARGETS))
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 2**31))
    parser.add_argument("--planted", action="store_true")
    options = parser.parse_args()
    target = TARGETS[options.target]
    print(f"start value {options.seed}", flush=True)
    if options.planted:
        plant(options.target)
    corpus = Path(tempfile.mkdtemp(prefix="onward-fuzz-"))
    for number, text in enumerate(target.seeds):
        (corpus / f"{number}").write_text(text)

    words = corpus.with_suffix(".dict")
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))

    def try_one(data: bytes) -> None:
        target.run(spell(data, target.words))

    arguments = [f"-runs={options.runs}", f"-seed={options.seed}", "-max_len=400", "-timeout=20", "-rss_limit_mb=1024"]
    arguments += [f"-artifact_prefix={corpus}/", f"-dict={words}"]
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
