"""The verb that checks the objective: certify."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from amid.cli.printing import say
from amid.errors import RequestError, RunError


def certify(
    short: Annotated[bool, typer.Option(help="A part of the grid, in seconds.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the table to this file instead of printing it.")] = None,
) -> None:
    """Check the objective against an independent float64 oracle, its theorems, and wrong implementations (mutants)."""
    from amid.certificate import certify as run_certificate
    from amid.certificate import render as render_certificate
    from amid.store.files import replace_text

    if output is not None:
        _check_output(output)  # before a minute of work

    certificate = run_certificate(short=short)
    text = render_certificate(certificate)
    if output is None:
        say(text, end="")
    else:
        replace_text(output, text)
    if not certificate.passed:
        raise RunError("the certificate does not hold; its failing rows are marked in the table")


def _check_output(path: Path) -> None:
    """Raises RequestError unless a file can be written at the path."""
    if path.is_dir():
        raise RequestError(f"--output {path} is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise RequestError(f"--output {path}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK) or not os.access(path.parent, os.W_OK):
        raise RequestError(f"--output {path} cannot be written")
