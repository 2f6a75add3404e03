#!/bin/sh
# Make every run of this study, two sweeps at a time: sh sweeps.sh CIFAR10_DIR OUT
# CIFAR10_DIR holds train/<class>/ and test/<class>/; the runs and the reference models go to OUT.
cifar10=$(cd "$1" && pwd) && mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
export OMP_NUM_THREADS=1

sweep() { python run.py -m paths.root="$out" tracking=none seed=0,1,2 "$@"; }
digits() { sweep dataset=digits "$@"; }
cifar() { sweep dataset=cifar10_folder dataset.root="$cifar10" model.width=16 "$@"; }
family=alfssd,amnesiac,assd,assd_repair,bad_teacher,finetune,gradient_ascent,jit,lfssd,neggrad_plus,original,potion,retrain,scrub,ssd,xlf
small_only=fisher,ntk # minutes for a network of 700,000 weights, or too much memory
few=assd,jit,original,scrub,ssd # of CIFAR-10, where a model is trained for two minutes and a method of many steps takes one

# The authors' settings, where the tables' are others. Nothing guards them, as in their code.
ssd() { "$@" method=ssd method.importance=batch method.reference=train method.alpha=10 method.lam=1 method.keep=null; }
jit() { "$@" method=jit method.optimizer.lr=3e-4 method.optimizer.momentum=1,0 method.keep=null || :; } # some diverge: the report lists them
label_free() {
    "$@" method=lfssd method.importance=batch method.alpha=10 method.keep=null
    "$@" method=alfssd method.importance=batch method.percentile=null method.keep=null
    "$@" method=xlf method.importance=batch method.percentile=null method.keep=null
}
small_steps() { # on the digits, whose tables have larger ones
    "$@" method=bad_teacher method.epochs=1 method.batch_size=256 method.optimizer.lr=1e-4
    "$@" method=amnesiac method.epochs=3 method.optimizer.lr=1e-4
}

(
    set -e
    cifar scenario=class "method=alfssd,amnesiac,bad_teacher,lfssd,retrain,xlf,$few"
    ssd cifar scenario=class method.order=retain_first,shuffled
    jit cifar scenario=class method.sigma=0.5
    cifar scenario=random scenario.fraction=0.1 "method=$few"
    ssd cifar scenario=random scenario.fraction=0.1 method.batch_size=128
    jit cifar scenario=random scenario.fraction=0.1 method.sigma=0.01
) & one=$!
(
    set -e
    digits scenario=class "method=$family,unsir,emmn,gkt,$small_only"
    ssd digits scenario=class method.order=retain_first,shuffled
    jit digits scenario=class method.sigma=0.5
    label_free digits scenario=class
    small_steps digits scenario=class
    digits scenario=class method=unsir method.repair_batch_size=128 method.optimizer.lr=1e-4
    digits scenario=subclass "method=$family,unsir,$small_only"
    ssd digits scenario=subclass method.order=retain_first,shuffled
    jit digits scenario=subclass method.sigma=0.01 method.batch_size=64
    digits scenario=random scenario.fraction=0.1 "method=$family,$small_only"
    ssd digits scenario=random scenario.fraction=0.1 method.batch_size=128
    jit digits scenario=random scenario.fraction=0.1 method.sigma=0.01
    cifar scenario=subclass scenario.classes=[frog] "method=$few"
    ssd cifar scenario=subclass scenario.classes=[frog] method.order=retain_first,shuffled
    jit cifar scenario=subclass scenario.classes=[frog] method.sigma=0.01 method.batch_size=64
) & other=$!
wait $one && wait $other || exit 1
python -m unlearning.report "$out/multirun" --out "$out"
