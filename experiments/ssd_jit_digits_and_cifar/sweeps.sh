#!/bin/sh
# Make every run of this study, two sweeps at a time: sh sweeps.sh CIFAR10_DIR OUT
# CIFAR10_DIR holds train/<class>/ and test/<class>/; the runs and the reference models go to OUT.
cifar10=$(cd "$1" && pwd) && mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
export OMP_NUM_THREADS=1

sweep() { python run.py -m paths.root="$out" tracking=none seed=0,1,2 "$@"; }
digits() { sweep dataset=digits "$@"; }
cifar() { sweep dataset=cifar10_folder dataset.root="$cifar10" model.width=16 "$@"; }
family=alfssd,amnesiac,assd,assd_repair,bad_teacher,finetune,fisher,gradient_ascent,jit,lfssd,neggrad_plus
family=$family,original,potion,retrain,scrub,ssd,xlf
whole_classes_only=emmn,gkt
small_models_only=ntk # the kernel matrix is too large for a network of 700,000 weights
published="method=ssd method.importance=batch method.reference=train method.alpha=10"

(
    cifar scenario=class "method=$family,unsir,$whole_classes_only"
    cifar scenario=class $published
    digits scenario=class "method=$family,unsir,$whole_classes_only,$small_models_only"
    digits scenario=class $published
    digits scenario=subclass "method=$family,unsir,$small_models_only"
) &
(
    cifar scenario=subclass scenario.classes=[frog] "method=$family,unsir"
    cifar scenario=random scenario.fraction=0.1 "method=$family"
    digits scenario=random scenario.fraction=0.1 "method=$family,$small_models_only"
) &
wait
python -m unlearning.report "$out/multirun" --out "$out"
