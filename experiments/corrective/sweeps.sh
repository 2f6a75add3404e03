#!/bin/sh
# Make every run of this study: sh sweeps.sh CIFAR10_DIR OUT [GAMMA]
# CIFAR10_DIR holds train/<class>/ and test/<class>/; runs, reference models, tables and figures go to OUT. GAMMA is the known
# part at which the heat map of alpha and lambda is made (0.3), or several with commas, one row each.
cifar10=$(cd "$1" && pwd) && mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
export OMP_NUM_THREADS=1
gamma=${3:-0.3}

sweep() { python run.py -m tracking=none evaluation.membership=null "$@"; }
report() {
    python -m unlearning.report "$out/$1/multirun" --out "$out/$1" --metrics "$columns"
    python -m experiments.corrective.figures "$out/$1/multirun" --out "$out/$1" --figure $2
}
columns=corrective/acc_seen,corrective/acc_unseen,corrective/acc_known,corrective/acc_retain,corrective/poison_healed
columns=$columns,corrective/wrong_seen,cost/seconds

digits() { sweep paths.root="$out/digits" experiment=corrective_digits seed=$1; }
cifar() {
    sweep paths.root="$out/cifar" seed=0,1,2 dataset=cifar10_folder dataset.root="$cifar10" model=resnet9 model.width=8 \
        pretrain.epochs=20 pretrain.batch_size=32 "$@"
}
cifar_poison() { cifar scenario=poison scenario.known=0.1,0.5,1.0 method=ssd,potion,eu_k,cf_k,scrub; }
searched() { # SSD with every alpha of a grid, of which searched.py chooses the best for each draw; no other table has these runs
    sweep paths.root="$out/digits" paths.runs="$out/searched/multirun" seed=0,1,2 scenario=$1 \
        scenario.known=0.1,0.3,1.0 method=ssd method.alpha=0.5,1,2,5,7,10,14,20,50,100
}
searched_cifar() {
    cifar paths.runs="$out/searched/multirun" scenario=poison scenario.known=0.1 method=ssd method.alpha=0.5,2,5,10,20,50
}
xlf_importance() { # Potion with the importance of its paper, where the table of settings uses ASSD's on CIFAR-10; it has its own page
    cifar paths.runs="$out/potion/multirun" scenario=poison scenario.known=0.1,0.5,1.0 \
        method=potion method.measure=norm method.order=by_class
}
dampening() { # one draw, which no other table holds
    sweep paths.root="$out/dampening" seed=100 scenario=$1 scenario.known=$gamma method=ssd \
        method.alpha=0.5,1,2,5,20,100 method.lam=0.1,0.5,1
}
scrub() { # the benchmark's form: few forget passes that ascend on the whole loss; at its rate of .0025 the 209 steps change little
    sweep paths.root="$out/digits" paths.runs="$out/scrub/multirun" experiment=corrective_digits \
        scenario.known=0.1,0.5,1.0 method=scrub method.alpha=0.05,0.5 \
        method.maximise=loss method.msteps=null method.forget_until=20 method.epochs=11 method.forget_batch_size=64 \
        optimizer@method=sgd method.optimizer.lr=1e-2 method.optimizer.momentum=0.9 method.optimizer.weight_decay=5e-4 \
        schedule@method=linear
}
ekfac() {
    sweep paths.root="$out/digits" paths.runs="$out/ekfac/multirun" experiment=corrective_digits scenario.known=0.1,0.3,1.0 \
        method=influence_filter method.scores=ekfac method.threshold=0.3
}

jobs=
for seed in 0 1 2; do
    digits $seed & jobs="$jobs $!"
done
(set -e; cifar_poison; xlf_importance; searched_cifar) & jobs="$jobs $!"
(set -e; searched poison; searched confusion) & jobs="$jobs $!"
(set -e; dampening poison; dampening confusion) & jobs="$jobs $!"
(set -e; ekfac; scrub) & jobs="$jobs $!"
for job in $jobs; do wait $job || exit 1; done
set -e
report digits "gamma examples"
report cifar "gamma examples"
report potion gamma
report ekfac gamma
python -m unlearning.report "$out/scrub/multirun" --out "$out/scrub" --metrics "$columns"
report dampening dampening
python -m experiments.corrective.searched "$out/searched/multirun" > "$out/searched.md"
