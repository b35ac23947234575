"""The verb that removes what is in the store: gc."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amid.cli.options import Results, store_at
from amid.cli.printing import say
from amid.errors import RunError

if TYPE_CHECKING:
    from amid.store.garbage import Garbage


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed.")] = False,
    models: Annotated[bool, typer.Option("--models", help="Models of finished cells too; their scores stay.")] = False,
    results: Results = Path("results"),
) -> None:
    """Say what can be freed without losing a result: unneeded stages, checkpoints of finished cells, leftovers.

    Nothing is deleted without --delete, and never what a process works on.
    """
    from amid.reports.columns import aligned
    from amid.store import garbage
    from amid.store.sizes import in_words

    store = store_at(results)
    of_models = garbage.models_in(store)
    found = [*garbage.garbage_in(store), *(of_models if models else [])]
    if found:
        lines = [(in_words(each.num_bytes), str(each.path.relative_to(store.root)), each.why) for each in found]
        say("\n".join(aligned(lines)))
    size = in_words(sum(each.num_bytes for each in found))
    if not found:
        say(f"nothing to free in {store.root}")
    elif not delete:
        say(f"{size} can be freed; nothing is deleted without --delete")
    if of_models and not models:
        say(f"with --models {in_words(sum(each.num_bytes for each in of_models))} more: models of finished cells")
    if found and delete:
        _delete(found)


def _delete(found: list[Garbage]) -> None:
    from amid.store import garbage
    from amid.store.sizes import in_words

    freed, left = 0, []
    for each, why in garbage.delete(found):
        if why:
            left.append(f"{each.path}: {why}")
        else:
            freed += each.num_bytes
    say(f"freed {in_words(freed)}")
    if left:
        raise RunError(f"{len(left)} of {len(found)} were left: {'; '.join(left)}")
