"""Verbs that move and remove what is in the store: gc, merge, bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amid.cli.options import Results, store_at
from amid.cli.printing import say
from amid.errors import RequestError, RunError

if TYPE_CHECKING:
    from amid.store.garbage import Garbage
    from amid.store.merge import Merged


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


def merge(
    source: Annotated[Path, typer.Argument(help="A results folder of another machine, or a file of amid bundle.")],
    results: Results = Path("results"),
) -> None:
    """Take over the results of another machine: what is new is checked and copied, what differs is shown and left.

    Can be stopped at any moment and repeated.
    """
    from amid.config.names import expanded
    from amid.store import Store
    from amid.store.bundle import check_bundle, unpack_bundle
    from amid.store.incoming import receiving
    from amid.store.merge import check_source, merge_store

    given = Path(expanded("STORE", str(source)))
    store = store_at(results)
    if given.is_file():
        check_bundle(given)
    else:
        check_source(store, Store(given))
    with receiving(store) as folder:
        if given.is_file():
            unpack_bundle(given, folder / "bundle")
            given = folder / "bundle"
        merged = merge_store(store, Store(given))
    _say_merged(merged)


def bundle(
    sweep: Annotated[str, typer.Argument(help="Name of a sweep or single run.")],
    file: Annotated[Path | None, typer.Argument(help="FILE.tar.gz or FILE.zip; SWEEP.tar.gz by default.")] = None,
    models: Annotated[bool, typer.Option("--models", help="The models too; without, they are trained again.")] = False,
    wandb: Annotated[bool, typer.Option("--wandb", help="What W&B recorded offline: it names the machine.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    results: Results = Path("results"),
) -> None:
    """Write a sweep into one file: all that is needed to read it or to run it again (amid merge FILE takes it in)."""
    from amid.config.names import expanded
    from amid.store.bundle import SUFFIXES, bundled_files, num_offline_runs, write_bundle
    from amid.store.sizes import in_words

    store = store_at(results)
    name = str(store.read_sweep(sweep)["name"])
    target = Path(f"{name}.tar.gz") if file is None else Path(expanded("FILE", str(file)))
    if not target.name.endswith(SUFFIXES):
        raise RequestError(f"{target}: a bundle is a file that ends in {', '.join(SUFFIXES)}")
    if not target.parent.is_dir():
        raise RequestError(f"{target}: there is no folder {target.parent}")
    if target.is_dir() or (target.exists() and not overwrite):
        raise RequestError(f"{target} is there already; --overwrite replaces a file")
    files = bundled_files(store, name, models=models, wandb=wandb)
    write_bundle(target, name, files)
    say(f"{target}: {len(files)} files, {in_words(target.stat().st_size)}; elsewhere: amid merge {target.name}")
    left = 0 if wandb else num_offline_runs(store, name)
    if left:
        say(f"left out: {left} offline W&B runs, which name this machine, its user and its folders; --wandb takes them")


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


def _say_merged(merged: Merged) -> None:
    from amid.store.merge import OUTCOMES

    for noun, counts in merged.counts.items():
        said = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])
        say(f"{noun + ':':<9} {said or 'none'}")
    for text in merged.problems:
        say(f"left: {text}")
    if merged.problems:
        raise RunError(f"{merged.problems[0]} ({len(merged.problems)} left in all, the rest is merged)")
