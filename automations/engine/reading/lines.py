"""Where the parts of a definition stand in the text that was written (DEF-25): key path and line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from automations.engine.reading.parsed import Path, shown

TOP = -1  # the owner of paths outside the steps


@dataclass(frozen=True, slots=True)
class Place:
    """`path` as people read it, `pointer` into the canonical graph form, `line` counted from one where a text is known."""

    path: str
    pointer: str
    line: int | None


@dataclass(frozen=True, slots=True)
class Lines:
    """Translates between the graph form and the written text. Without a text: paths of the graph form, no lines."""

    at: Mapping[Path, int] = field(default_factory=dict)
    steps: tuple[Path, ...] = ()  # of each step of the graph form, by its number: the path as written
    renamed: Mapping[tuple[int, Path], Path] = field(
        default_factory=dict
    )  # (step's number or -1, graph path) -> written
    nested: bool = False

    def line(self, path: Path) -> int | None:
        """The line of that path, or of the innermost part of it that was written."""
        for length in range(len(path), -1, -1):
            found = self.at.get(path[:length])
            if found is not None:
                return found
        return None

    def top(self, *path: str | int) -> Place:
        """A part outside the steps, such as `("trigger", "event")`; alias keys stand under -1 in `renamed`."""
        written = self._written(TOP, path)
        return Place(shown(written), _pointer(path), self.line(written))

    def is_list(self, *path: str | int, alone: bool) -> bool:
        """Whether a list was written there; without a text a value that stands `alone` is none."""
        return (*self._written(TOP, path), 0) in self.at if self.at else not alone

    def step(self, index: int, *path: str | int) -> Place:
        """A part of the step that is number `index` in the graph form; a path into its configuration begins with `config`."""
        base = self.steps[index] if index < len(self.steps) else ("nodes", index)
        below = self._written(index, path)
        if self.nested and below[:1] == ("config",):
            below = below[1:]
        written = (*base, *below)
        return Place(shown(written), _pointer(("nodes", index, *path)), self.line(written))

    def _written(self, owner: int, path: Path) -> Path:
        for length in range(len(path), 0, -1):
            renamed = self.renamed.get((owner, path[:length]))
            if renamed is not None:
                return (*renamed, *path[length:])
        return path


def _pointer(path: Path) -> str:
    """JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
