"""The files of figures: their formats, their bytes, and what is drawn where something is missing."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from drawn_sweeps import Drawn, over_alpha, over_lambda, over_methods

from amid.errors import RequestError
from amid.reports.figures import figure1, figure2a, figure2b, figure2c, figure4, heat_map, instability, temperature
from amid.reports.figures.picture import Picture
from amid.reports.figures.registry import FIGURES, OF_FORMULAS, OF_SWEEPS
from amid.reports.figures.style import FORMATS, check_formats, house_style, save
from amid.toy_experiment.result import PARAMETRISATIONS, Fit, Setting

SWEEPS = {"figure3": over_methods, "figure5": over_lambda}
SIGNATURES = {"png": b"\x89PNG\r\n", "pdf": b"%PDF-", "svg": b"<?xml"}


def made_for(name: str, root: Path) -> Drawn:
    return SWEEPS[name](root) if name in SWEEPS else over_alpha(root, tuned=True)


def words_of(picture: Picture) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in picture.figure.findobj(Text)]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [*OF_FORMULAS, *OF_SWEEPS])
def test_the_same_figure_is_the_same_bytes_in_every_format(name: str, tmp_path: Path) -> None:
    found = []
    for turn in ("first", "second"):
        with house_style():
            made = None if name in OF_FORMULAS else made_for(name, tmp_path / turn / "results")
            picture = OF_FORMULAS[name]() if made is None else OF_SWEEPS[name](made.view())
            paths = save(picture.figure, tmp_path / turn, name, FORMATS)
        found.append({path.name: path.read_bytes() for path in paths})
    assert found[0] == found[1]
    for path, data in found[0].items():
        assert data.startswith(SIGNATURES[path.partition(".")[2]])
    svg = found[0][f"{name}.svg"]
    assert b"dc:date" not in svg
    assert b"atplotlib v" not in svg, "a version of a library is no part of a figure"
    assert b"/CreationDate" not in found[0][f"{name}.pdf"]


def test_places_are_rounded_so_that_the_solver_of_the_layout_cannot_change_bytes(tmp_path: Path) -> None:
    with house_style():
        picture = heat_map.draw(over_alpha(tmp_path).view())
        save(picture.figure, tmp_path, "heat_map", ["svg"])
    edges = [edge for axis in picture.figure.axes for edge in axis.get_position(original=True).bounds]
    assert len(edges) == 8
    assert edges == pytest.approx([round(edge, 6) for edge in edges], rel=0, abs=1e-12)


def test_a_pdf_holds_its_fonts(tmp_path: Path) -> None:
    with house_style():
        (path,) = save(figure1.draw().figure, tmp_path, "figure1", ["pdf"])
    data = path.read_bytes()
    plain = data + b"".join(_inflated(each) for each in re.findall(rb"stream\r?\n(.*?)endstream", data, re.S))
    assert b"/FontFile2" in plain
    assert b"/Type3" not in plain, "outlines in place of a font cannot be searched or edited"
    assert b"DejaVuSans" in plain


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompress(data)
    except zlib.error:
        return b""


def test_a_users_own_matplotlibrc_changes_nothing(tmp_path: Path) -> None:
    import matplotlib

    with house_style():
        (first,) = save(figure2b.draw().figure, tmp_path / "a", "figure2b", ["svg"])
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": "other"}):
        with house_style():
            (second,) = save(figure2b.draw().figure, tmp_path / "b", "figure2b", ["svg"])
        assert matplotlib.rcParams["font.size"] == 20
    assert first.read_bytes() == second.read_bytes()


def test_the_claim_stands_below_the_figure_as_on_the_terminal(tmp_path: Path) -> None:
    with house_style():
        picture = figure4.draw(over_alpha(tmp_path).view())
        below = next(text for text in words_of(picture) if "Claim:" in text)
    folded = " ".join(below.split())
    assert "HOLDS" in folded
    claim = picture.said.claims[0].text
    assert " alpha " in claim
    assert " alpha " not in folded
    assert " ".join(re.sub(r"\balpha\b", "α", claim).replace("||", "‖").split()) in folded


def test_a_missing_cell_is_a_gap_with_a_word_and_a_diverged_one_is_called_so(tmp_path: Path) -> None:
    view = over_alpha(tmp_path, left_out=[0.5], diverged=[("kl", "rp", 1.0)]).view()
    with house_style():
        picture = figure4.draw(view)
        axis = picture.figure.axes[1]
        lines = {line.get_label(): line for line in axis.get_lines()}
        words = [text.get_text() for text in axis.texts]
        heat = words_of(heat_map.draw(view))
        curves = words_of(instability.draw(view))
    values = dict(zip(view_alphas(), lines["ab(p ‖ r)"].get_ydata(), strict=True))
    assert math.isnan(values[0.5])
    assert all(math.isfinite(value) for alpha, value in values.items() if alpha != 0.5)
    assert words.count("× missing") == 1
    assert words.count("× diverged") == 1
    assert {"absent" in heat, "missing" in heat} == {True, False}
    assert "diverged" in heat
    assert "diverged: α = 1" in curves
    assert "0.00" not in heat, "nothing missing looks like a zero"


def view_alphas() -> list[float]:
    from drawn_sweeps import ALPHAS

    return list(ALPHAS)


def test_a_sweep_of_which_nothing_has_run_is_drawn_as_nothing(tmp_path: Path) -> None:
    made = Drawn(tmp_path, ["amid.alpha"])
    for alpha in ("null", "-1", "1"):
        made.add({"amid.alpha": alpha})
    made.store.root.mkdir(exist_ok=True)
    with house_style():
        for name in ("figure4", "heat_map", "instability"):
            picture = OF_SWEEPS[name](made.view())
            save(picture.figure, tmp_path, name, ["png"])
            assert all(claim.verdict == "undecided" for claim in picture.said.claims)


def test_names_with_signs_of_tex_are_drawn_as_they_are(tmp_path: Path) -> None:
    made = over_lambda(tmp_path)
    made.manifest["name"] = "made"
    for cell in made.manifest["cells"]:
        cell["labels"]["strategy"] = "$\\frac{1}{0"
    with house_style():
        picture = OF_SWEEPS["figure5"](made.view())
        save(picture.figure, tmp_path, "figure5", ["svg"])


def test_a_sweep_over_something_else_is_refused(tmp_path: Path) -> None:
    with (
        house_style(),
        pytest.raises(RequestError, match=r"this figure is over amid.lam, and sweep 'made' is over amid"),
    ):
        OF_SWEEPS["figure5"](over_alpha(tmp_path / "a").view())
    with house_style(), pytest.raises(RequestError, match=r"repeat its command with evaluation.also_tuned="):
        temperature.draw(over_alpha(tmp_path / "b").view())


def test_figure2c_draws_the_fits_it_is_given(tmp_path: Path) -> None:
    setting = Setting(alphas=(-5.0, 3.0))
    fits = [
        Fit(alpha, lam, each, -3.0 if alpha < 0 else -1.2, 1.4 if alpha < 0 else 3.3, 0.1, 0.0)
        for each in PARAMETRISATIONS
        for lam in setting.lams
        for alpha in setting.alphas
    ]
    with house_style():
        picture = figure2c.draw(fits, setting)
    assert len(picture.said.lines) == 2 + len(fits)
    assert picture.said.lines[2].split() == ["variance", "0.1", "-5", "-3.000", "1.400", "0.1000", "0.000"]
    moments = picture.figure.axes[-1].get_lines()
    assert list(moments[1].get_ydata()) == [1.4, 3.3]


def test_formats_are_known_ones_once() -> None:
    assert check_formats("png, svg,png") == ["png", "svg"]
    with pytest.raises(RequestError, match="--format 'jpg' unknown; did you mean 'png'"):
        check_formats("jpg")


def test_every_figure_is_listed_with_what_draws_it() -> None:
    assert {name for name, each in FIGURES.items() if each.kind == "formulas"} == set(OF_FORMULAS)
    assert {name for name, each in FIGURES.items() if each.kind == "sweep"} == set(OF_SWEEPS)
    assert all((each.sweep is not None) == (each.kind == "sweep") for each in FIGURES.values())


def test_the_simplex_has_every_alpha_and_corner() -> None:
    with house_style():
        words = words_of(figure2a.draw())
    assert {"token 1", "token 2", "token 3", "p", "q"} <= set(words)


def test_drawing_a_sweep_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from amid.reports.figures.registry import OF_FORMULAS\n"
        "from amid.reports.figures.style import house_style\n"
        "with house_style(): OF_FORMULAS['figure1']()\n"
        "print('torch' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == ["False", "False"]
