#!/bin/sh
# Every run of this study: sh sweeps.sh CIFAR10_DIR OUT
# CIFAR10_DIR holds train/<class>/ and test/<class>/; runs, reference models, tables and figures go to OUT.
cifar10=$(cd "$1" && pwd) && mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
export OMP_NUM_THREADS=1

sweep() { python run.py -m tracking=none evaluation.membership=null "$@"; }
report() { python -m unlearning.report "$out/$1/multirun" --out "$out/$1" --metrics "$columns" --figure $2; }
columns=corrective/acc_seen,corrective/acc_unseen,corrective/acc_known,corrective/acc_retain,corrective/poison_healed
columns=$columns,corrective/wrong_seen,cost/seconds

digits() { sweep paths.root="$out/digits" experiment=corrective_digits seed=$1 method=ssd,potion,scrub,bad_teacher,cf_k,eu_k,xlf; }
others() { sweep paths.root="$out/digits" experiment=corrective_digits method=$1; }
cifar() {
    sweep paths.root="$out/cifar" seed=0,1,2 dataset=cifar10_folder dataset.root="$cifar10" model=resnet9 model.width=8 \
        pretrain.epochs=20 pretrain.batch_size=32 scenario=$1 scenario.known=0.1,1.0 method=ssd,potion,eu_k,cf_k,scrub
}
dampening() { # one draw, which the other tables do not hold
    sweep paths.root="$out/dampening" seed=100 scenario=$1 scenario.known=0.3 method=ssd \
        method.alpha=0.5,1,2,5,20,100 method.lam=0.1,0.5,1
}
for seed in 0 1 2; do digits $seed & done
(cifar poison; cifar confusion) &
(dampening poison; dampening confusion) &
(others influence_filter; others finetune) &
(sweep paths.root="$out/ekfac" experiment=corrective_digits method=influence_filter method.scores=ekfac) &
wait
report digits "gamma examples"
report cifar "gamma examples"
report ekfac gamma
report dampening dampening
