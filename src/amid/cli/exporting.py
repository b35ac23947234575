"""The verb that takes a model out of the store: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amid.cli.options import Results, store_at
from amid.cli.printing import log_to_stderr, say


def export(
    cell: Annotated[str, typer.Argument(help="Id of a finished cell, or how it begins.")],
    folder: Annotated[Path | None, typer.Argument(help="Where it is written; exports/CELL_ID by default.")] = None,
    dtype: Annotated[str, typer.Option(help="Of the weights written: float32, bfloat16 or float16.")] = "float32",
    adapter: Annotated[bool, typer.Option(help="Keep LoRA apart from its base, as peft does; merged without.")] = False,
    gguf: Annotated[bool, typer.Option(help="Write model.gguf too (Llama and GPT-2).")] = False,
    licence: Annotated[str | None, typer.Option(help="The licence of the model, as apache-2.0.")] = None,
    licence_link: Annotated[str | None, typer.Option(help="Where the text of a licence of its own is.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace what an earlier export left there.")] = False,
    push: Annotated[str | None, typer.Option(help="Upload it to this repository of the hub, privately.")] = None,
    public: Annotated[bool, typer.Option(help="Let everybody see what is pushed.")] = False,
    results: Results = Path("results"),
) -> None:
    """Write a finished cell as a model folder that transformers loads, with its tokenizer and model card.

    An export that is there is pushed as it is, with the licence that was written into its card.
    """
    from amid.config.names import expanded
    from amid.export.folder import check_target, holds
    from amid.export.found import find_cell
    from amid.export.licence import licence_of
    from amid.export.options import Options
    from amid.export.push import check_push, pushed
    from amid.store.frozen import latest_request

    options = Options(dtype, adapter, gguf, licence_of(licence, licence_link), overwrite, push, public)
    store = store_at(results)
    found = find_cell(store, cell)
    target = Path("exports") / found.id if folder is None else Path(expanded("FOLDER", str(folder)))
    is_there = push is not None and not overwrite and holds(target, found.id, options.written)
    if not is_there:
        check_target(target, overwrite=overwrite)
    if push is not None:
        check_push(push, target if is_there else None, options)
    if not is_there:
        request = latest_request(found.id, store)
        log_to_stderr()
        from amid.cli.cell_export import export_cell  # imports torch: not before the request is known to be sound

        for line in export_cell(store, found, request, target, options):
            say(line)
    if push is not None:
        say(pushed(target, push, public=public))
