#!/usr/bin/env bash
# The wheel on its own: built, installed without the checkout, and used in another folder. The one argument is the
# interpreter whose packages (all but this one) it runs with.
set -euo pipefail
tested=$1
checkout=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$tested" -m pip wheel -q --disable-pip-version-check --no-deps -w "$work" "$checkout"
"$tested" -m venv --without-pip "$work/venv"
"$tested" -m pip --disable-pip-version-check --python "$work/venv/bin/python" install -q --no-deps "$work"/*.whl
site=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$tested" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$site/tested.pth" # without its editable install
cd "$work"
"$work/venv/bin/python" -c "import amid; assert amid.__file__.startswith('$work/'), amid.__file__"
export WANDB_MODE=offline OMP_NUM_THREADS=1
run=("$work/venv/bin/python" -m amid -m amid.alpha=-1,1 sweep.name=wheel "paths.cache=$work/cache"
  data.num_records=96 data.num_dev=6 data.num_eval=4 pair.tokenizer_vocab_size=400 pair.teacher_sft.max_steps=2
  pair.student_sft.max_steps=2 train.max_steps=2 train.validation.max_new_tokens=4 evaluation.max_new_tokens=4
  "evaluation.decode_seeds=[10]")
"${run[@]}"
"${run[@]}" | grep "nothing to run"
"$work/venv/bin/amid" table wheel --style markdown | tee table.md
test "$(grep -c '^|' table.md)" = 6 # header, rule, teacher, initial student, two cells
"$work/venv/bin/amid" report wheel --out report.html
grep -q "addEventListener" report.html # its script and style are in the wheel
"$work/venv/bin/amid" status wheel
"$work/venv/bin/amid" table --paper table3 | grep 'KL(p||r)' # the paper's numbers are in it
"$work/venv/bin/amid" plan table3 pair=tiny data=toy | grep '^sweep table3: 24 cells'
"$work/venv/bin/amid" plan table3 experiment=quick | grep '^sweep table3: 24 cells'
mkdir -p my_conf/experiment my_conf/sweeps
printf '# @package _global_\ndefaults: [quick]\ntrain: {max_steps: 1}\n' > my_conf/experiment/mine.yaml
printf '# @package _global_\nhydra: {mode: MULTIRUN}\nsweep: {name: few, union: [{axes: {amid.alpha: [-1, 1]}}]}\n' > my_conf/sweeps/few.yaml
"$work/venv/bin/python" -m amid --config-dir my_conf -m sweeps=few experiment=mine task=prepare "paths.cache=$work/cache"
rm -r my_conf
"$work/venv/bin/amid" status few
"$work/venv/bin/python" -m amid sweeps=nope && exit 1 || test $? = 2
