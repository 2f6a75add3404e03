#!/bin/sh
# Search settings for the digits in each scenario: sh search.sh OUT
# Every grid is tried whole. The study ssd_jit_digits_and_cifar reports none of these draws: it has the digit 3 with other seeds.
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
export OMP_NUM_THREADS=1

percentiles=method.percentile=93,80,85,90,96,98,99.5
both=method.importance=per_sample,batch

tune() {
    python -m unlearning.tune paths.root="$out" tracking=none trials=100 "$@"
}

without_labels() {
    tune "$@" method=lfssd method.alpha=3,1,1.25,1.5,2,5 $both
    tune "$@" method=alfssd $percentiles $both
    tune "$@" method=xlf $percentiles $both
}

all() {
    tune "$@" method=finetune method.optimizer.lr=0.1,0.02,0.05,0.2 method.epochs=10,5 method.batch_size=32
    tune "$@" method=neggrad_plus method.forget_weight=0.05,0.01,0.02,0.1 method.optimizer.lr=0.01,0.03 method.batch_size=64
    tune "$@" method=scrub method.forget_batch_size=8,32,64 method.msteps=3,1 method.optimizer.lr=1e-3,5e-4 method.epochs=5
    tune "$@" method=ssd method.alpha=5,1,1.5,2,3,8,12,20 method.importance=per_sample method.reference=retain
    tune "$@" method=potion method.rho=0.2,0.05,0.4,0.6,0.8,0.9,0.95,0.98 method.measure=cross_entropy method.importance=per_sample
    tune "$@" method=jit method.optimizer.lr=2e-5,1e-6,2e-6,5e-6,1e-5 method.sigma=0.5,0.1
    tune "$@" method=random_label method.optimizer.lr=2e-3,1e-3,5e-4,1e-4 method.epochs=30,10 method.batch_size=32
    tune "$@" method=bad_teacher method.optimizer.lr=1e-3,3e-4,1e-4 method.epochs=5,2,1 method.batch_size=32
    tune "$@" method=amnesiac method.optimizer.lr=1e-3,3e-4,1e-4 method.epochs=3,1,10
    without_labels "$@"
}

all scenario=random seed=100,101,102,103
all scenario=subclass seed=100,101 'scenario.classes=[3],[7],[8]'
without_labels scenario=class seed=100 'scenario.classes=[0],[1],[2],[3],[4],[5],[6],[7],[8],[9]'
