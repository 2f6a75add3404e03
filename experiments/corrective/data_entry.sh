#!/bin/sh
# Wrongly entered labels on the digits, a tenth of the training set, with the settings for shuffled labels: sh data_entry.sh OUT
# There are 81 runs; the table and the figure go to OUT.
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
export OMP_NUM_THREADS=1

python run.py -m paths.root="$out" tracking=none evaluation.membership=null experiment=corrective_digits scenario=data_entry \
    scenario.known=0.1,0.3,1.0
columns=corrective/acc_seen,corrective/acc_known,corrective/acc_retain,corrective/poison_healed
python -m unlearning.report "$out/multirun" --out "$out" --metrics $columns,corrective/wrong_seen,cost/seconds
python -m experiments.corrective.figures "$out/multirun" --out "$out"
