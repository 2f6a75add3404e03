#!/bin/sh
# Tune every method and judge it, one setting after the other: sh sweeps.sh CIFAR10_DIR OUT [SETTING]
# CIFAR10_DIR holds train/<class>/ and test/<class>/; studies, runs, models, tables and figures go to OUT. SETTING is digits-class,
# digits-random, cifar10-class or cifar10-random; without it all four are made. What is there already is not made again.
# SEEDS=0,1,2 judges by those seeds alone; PARTS=tune or PARTS=judge does one half alone, as another process may do the other.
cifar10=$(cd "$1" && pwd) && mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
export OMP_NUM_THREADS=1
settings=${3:-digits-class digits-random cifar10-class cifar10-random} seeds=${SEEDS:-0,1,2,3,4} parts=${PARTS:-tune judge}
none=original,retrain,assd # they have nothing to tune
slow=emmn,gkt              # a trial of theirs takes minutes

# What is forgotten, and of which model.
what() {
    case $1 in
        digits-*) echo "dataset=digits" ;;
        cifar10-*)
            echo "dataset=cifar10_folder dataset.root=$cifar10 dataset.size=16 dataset.limit=150 dataset.flip=false" \
                "model=resnet9 model.width=16 pretrain.epochs=10 pretrain.batch_size=32"
            ;;
    esac
    case $1 in
        digits-class) echo "scenario=class scenario.classes=[3]" ;;
        cifar10-class) echo "scenario=class scenario.classes=[0]" ;;
        *) echo "scenario=random scenario.fraction=0.1" ;;
    esac
}
methods() { # on CIFAR-10, where a run takes longer, one of each kind
    case $1 in
        digits-*) echo "glob(*,exclude=[$2,sisa])" ;;
        *) echo "finetune,neggrad_plus,random_label,bad_teacher,scrub,ssd,jit,boundary_shrink,cf_k,trew,unsir,head_only$3" ;;
    esac
}
trials() { # beside the settings as they are
    case $1 in
        digits-class) echo 8 ;;
        digits-random) echo 5 ;;
        *) echo 4 ;;
    esac
}

tune() { # by validation samples of a seed that no table reports
    python -m unlearning.tune paths.root="$out" out="$out/$1" tracking=none trials="$(trials "$1")" \
        method="$(methods "$1" $none,$slow)" $(what "$1") seed=100
}
judge() { # metrics that none of the judges reads are left out; relearning goes slowly, so that its steps tell models apart
    python run.py -m --config-dir "$out/$1" paths.root="$out" paths.runs="$out/$1/multirun" tracking=none seed="$seeds" \
        method="$(methods "$1" $slow ,original,retrain)" $(what "$1") evaluation=recovery evaluation.fitted_attacks=null \
        evaluation.svc_membership=null evaluation.entropy_logistic=null evaluation.noise_curve=null evaluation.zrf=null \
        evaluation.intervals=null evaluation.relative_unlearning=null evaluation.relearning.lr=0.002 \
        evaluation.quantisation.bits=[4] evaluation.quantisation.retained=200 evaluation.pruning.shares=[0.5] \
        evaluation.pruning.retained=200
}

for setting in $settings; do
    for part in $parts; do
        "$part" "$setting" || echo "sweeps: $setting: some of $part failed; the tables say which" >&2
    done
done
python -m experiments.judge.results --out "$out"
