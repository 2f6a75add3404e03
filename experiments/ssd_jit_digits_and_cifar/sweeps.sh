#!/bin/sh
# Every run of this study, two sweeps at a time: sh sweeps.sh CIFAR10_DIR OUT
# CIFAR10_DIR holds train/<class>/ and test/<class>/; the runs and the reference models go to OUT.
cifar10=$1 out=$2
cd "$(dirname "$0")/../.." || exit 1
export OMP_NUM_THREADS=1

sweep() { python run.py -m paths.root="$out" tracking=none seed=0,1,2 "$@"; }
digits() { sweep dataset=digits "$@"; }
# The kernel matrix of NTK does not fit a network of 700,000 weights: it refuses.
cifar() { sweep dataset=cifar10_folder dataset.root="$cifar10" model.width=16 "$@"; }
published="method=ssd method.importance=batch method.reference=train method.alpha=10"
whole_classes_only=unsir,emmn,gkt

(
    cifar scenario=class 'method=glob(*,exclude=ntk)'
    cifar scenario=class $published
    digits scenario=class 'method=glob(*)'
    digits scenario=class $published
    digits scenario=subclass "method=glob(*,exclude=[$whole_classes_only])"
) &
(
    cifar scenario=subclass scenario.classes=[frog] "method=glob(*,exclude=[ntk,$whole_classes_only])"
    cifar scenario=random scenario.fraction=0.1 "method=glob(*,exclude=[ntk,$whole_classes_only])"
    digits scenario=random scenario.fraction=0.1 "method=glob(*,exclude=[$whole_classes_only])"
) &
wait
python -m unlearning.report "$out/multirun" --out "$out"
