"""How steadily a training went: the formulas on made journals, and what is shown of them."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable
from pathlib import Path

import pytest
from small_stores import cell_of_alpha, finish, sweep_of

from amid.cli import app as cli
from amid.reports.curves import BARS, all_series, diagnostic_lines
from amid.reports.stability import FEWEST, WINDOW, loss_spikes, over_seeds, stability_of, variation
from amid.store import Store
from amid.store.files import append_line
from amid.store.layout import journal_path


def journal(folder: Path, losses: Iterable[float], norms: Iterable[float]) -> None:
    for index, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
        append_line(
            journal_path(folder), {"step": 10 * (index + 1), "metrics": {"train/loss": loss, "train/grad_norm": norm}}
        )
        append_line(journal_path(folder), {"step": 10 * (index + 1), "metrics": {"diagnostics/overlap": 0.5}})


def test_a_variation_is_the_standard_deviation_over_the_mean() -> None:
    assert variation([1.0, 3.0]) == pytest.approx(2**0.5 / 2)
    assert variation([2.0] * 9) == 0.0
    assert variation([4.0]) is None and variation([0.0, 0.0]) is None


def test_a_spike_is_a_loss_above_the_median_and_ten_median_deviations_of_the_lines_before() -> None:
    # Median 2.0; distances to it 0, .1, .1, .2, .2, ...: their median is 0.15
    before = [2.0, 2.1, 1.9, 2.2, 1.8, 2.1, 1.9, 2.2, 1.8, 2.0, 2.3, 1.7]
    median = statistics.median(before)
    bound = median + 10 * statistics.median(abs(value - median) for value in before)
    assert bound == pytest.approx(3.5)
    for last, expected in ((bound - 0.01, ()), (bound + 0.01, (13,))):
        assert loss_spikes(list(enumerate([*before, last], start=1))) == expected


def test_a_fall_is_no_spike_and_too_few_lines_before_say_nothing() -> None:
    noise = random.Random(0)
    steady = [2.0 + noise.gauss(0.0, 0.1) for _ in range(FEWEST)]
    assert loss_spikes(list(enumerate([*steady, 0.0]))) == ()
    assert loss_spikes(list(enumerate([*steady[1:], 50.0]))) == ()
    assert loss_spikes(list(enumerate([*steady, 50.0]))) == (FEWEST,)


def test_a_loss_is_compared_with_the_last_lines_only() -> None:
    """After the fall, 6 is far above what came last, and not above the beginning."""
    noise = random.Random(1)
    falling = [8.0] * WINDOW + [1.0 + noise.gauss(0.0, 0.05) for _ in range(WINDOW)]
    assert loss_spikes(list(enumerate([*falling, 6.0]))) == (2 * WINDOW,)


def test_normal_noise_has_hardly_a_spike() -> None:
    noise = random.Random(2)
    assert len(loss_spikes([(step, 3.0 + noise.gauss(0.0, 0.2)) for step in range(3000)])) <= 2


def test_a_trend_raises_the_variation_over_the_run_and_not_the_local_one(tmp_path: Path) -> None:
    norms = [2.0 ** (-index / 20) for index in range(100)]
    journal(tmp_path, [1.0] * 100, norms)
    found = stability_of(tmp_path)
    windows = [norms[start : start + WINDOW] for start in range(0, 100, WINDOW)]
    expected = statistics.median(statistics.stdev(each) / statistics.fmean(each) for each in windows)
    assert found.local_norm_variation == pytest.approx(expected)
    assert found.norm_variation == pytest.approx(statistics.stdev(norms) / statistics.fmean(norms))
    assert found.norm_variation > 3 * found.local_norm_variation
    assert found.num_lines == 100 and found.spikes == () and not found.diverged


def test_a_training_of_one_line_or_none_has_no_variation(tmp_path: Path) -> None:
    assert stability_of(tmp_path).norm_variation is None
    journal(tmp_path, [1.0], [1.0])
    assert stability_of(tmp_path).local_norm_variation is None


def seeds(root: Path) -> tuple[Store, list[str]]:
    """A sweep of two alphas and two seeds, one of which diverged; the first has a spike at step 120."""
    store = Store(root)
    cells = [cell_of_alpha(alpha, seed=seed) for alpha in (-5.0, 1.0) for seed in (1, 2)]
    noise = random.Random(3)
    for cell in cells[:3]:
        finish(store, cell)
        journal_path(store.folder(cell)).unlink()
        journal(
            store.folder(cell),
            [2.0 + noise.gauss(0.0, 0.1) for _ in range(11)] + [40.0 if cell is cells[0] else 2.0],
            [1.0, 3.0] * 6,
        )
    claim = store.claim(cells[3])
    assert claim is not None
    store.set_failed(cells[3], "diverged: the gradient of step 3 is not finite", "Traceback")
    claim.release()
    store.write_sweep("demo", sweep_of("demo", cells))
    return store, [cell.id for cell in cells]


def test_trainings_of_several_seeds_are_counted_together(tmp_path: Path) -> None:
    store, ids = seeds(tmp_path / "results")
    found = [stability_of(store.layout.folder_of("cell", id_)) for id_ in ids]
    assert [each.diverged for each in found] == [False, False, False, True]
    together = over_seeds(found[2:])
    assert (together.num_seeds, together.num_diverged, together.num_spikes, together.num_lines) == (2, 1, 0, 12)
    assert together.norm_variation == found[2].norm_variation == pytest.approx(variation([1.0, 3.0] * 6))
    assert over_seeds(found[:2]).num_spikes == 1


def test_a_cell_shows_its_diagnostics_its_stability_and_that_of_its_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, ids = seeds(tmp_path / "results")
    cli.show(entry=ids[0], num=0, results=store.root)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "loss spikes: 1 (steps 120)" in lines
    assert "gradient norm: varies by 52% over 12 journal lines, by 52% within 20" in lines
    assert (
        "training seeds of demo: 0 of 2 diverged; gradient norm varies by 52%, by 52% within 20 journal lines; "
        "loss spikes: 1 in 24 journal lines" in lines
    )
    (overlap,) = [line for line in lines if line.startswith("overlap")]
    assert overlap.endswith("0.5 (step 10) to 0.5 (step 120)")
    cli.show(entry=ids[3], num=0, results=store.root)
    text = capsys.readouterr().out
    assert "training seeds of demo: 1 of 2 diverged" in text
    assert "\ndiagnostics\n" not in text


def test_the_rounding_of_a_constant_measure_is_no_curve(tmp_path: Path) -> None:
    for step, value in enumerate((0.9, 0.90000002, 0.8999999)):
        append_line(journal_path(tmp_path), {"step": step, "metrics": {"diagnostics/gradient_weight_q_above_p": value}})
    (line,) = diagnostic_lines(tmp_path)
    assert line == f"gradient_weight_q_above_p  {BARS[0] * 3}  0.9 (step 0) to 0.9 (step 2)"


def test_a_group_of_the_journal_is_read_whole_and_by_name(tmp_path: Path) -> None:
    journal(tmp_path, [1.0, 2.0], [3.0, 4.0])
    assert all_series(tmp_path, "train/") == {
        "train/loss": [(10, 1.0), (20, 2.0)],
        "train/grad_norm": [(10, 3.0), (20, 4.0)],
    }
