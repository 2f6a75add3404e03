#!/bin/sh
# Every run of this study: sh sweeps.sh CIFAR10_DIR OUT
# CIFAR10_DIR holds train/<class>/ and test/<class>/; runs, reference models, tables and figures go to OUT.
cifar10=$1 out=$2
cd "$(dirname "$0")/../.." || exit 1
export OMP_NUM_THREADS=1

sweep() { python run.py -m tracking=none evaluation.membership=null "$@"; }
report() { python -m unlearning.report "$out/$1/multirun" --out "$out/$1" --metrics "$columns" --figure $2; }
columns=corrective/acc_seen,corrective/acc_unseen,corrective/acc_known,corrective/acc_retain,corrective/poison_healed
columns=$columns,corrective/wrong_seen,cost/seconds

cifar() { # a scenario, seed by seed so that what is finished is whole
    for seed in 0 1; do
        sweep paths.root="$out/cifar" seed=$seed dataset=cifar10_folder dataset.root="$cifar10" dataset.limit=150 \
            model=resnet9 model.width=8 scenario=poison,confusion scenario.known=0.1,1.0 \
            method=ssd,potion,scrub,cf_k,eu_k
    done
}
digits() {
    for seed in 0 1 2; do
        sweep paths.root="$out/digits" experiment=corrective_digits seed=$seed
    done
    for scenario in poison confusion; do # chosen with seed 100, which the tables do not hold
        sweep paths.root="$out/dampening" seed=100 scenario=$scenario scenario.known=0.3 method=ssd \
            method.alpha=0.5,1,2,5,20,100 method.lam=0.1,0.5,1
    done
}
cifar &
digits &
wait
report digits "gamma examples"
report cifar "gamma examples"
report dampening dampening
