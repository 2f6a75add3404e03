#!/bin/sh
# Make every run of this study, two sweeps at a time: sh sweeps.sh CIFAR10_DIR OUT [PART]
# CIFAR10_DIR holds train/<class>/ and test/<class>/; runs and reference models go to OUT, and so do results.md, claims.md and
# the figures. PART is rates (the choice of learning rates, on a seed that no table reports), grid, partial or composition;
# without it the last three are made. SEEDS=0 makes them for that seed alone, DATA=digits on that data set alone, for which
# any folder will do as CIFAR10_DIR.
cifar10=$(cd "$1" && pwd) && mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
export OMP_NUM_THREADS=1
parts=${3:-grid partial composition} seeds=${SEEDS:-0,1,2} data_sets=${DATA:-cifar10 digits digits28}

# A sweep of one data set; its part of the study names the folder of the runs. All attacks have several steps, since the pull
# (lam) is zero in the first. Nothing is held back.
sweep() {
    data=$1 part=$2
    shift 2
    case $data in
        digits) set -- dataset=digits "$@" ;;
        digits28)
            set -- dataset=image_folder dataset.name=digits28 dataset.root="$out/images" dataset.size=28 dataset.limit=100 \
                dataset.crop=0 dataset.flip=false model=small_cnn pretrain=digits pretrain.epochs=60 "$@"
            ;;
        cifar10)
            set -- dataset=cifar10_folder dataset.root="$cifar10" dataset.size=16 dataset.limit=200 dataset.flip=false \
                model=allcnn pretrain.epochs=7 pretrain.batch_size=32 pretrain.optimizer.lr=0.02 pretrain.schedule.max_lr=0.02 "$@"
            ;;
    esac
    python run.py -m paths.root="$out" paths.runs="$out/$data/$part/multirun" tracking=none seed="$seeds" \
        scenario=class scenario.classes=[0] "$@"
}

# How a data set is attacked and trained.
attack() {
    case $1 in
        cifar10) echo "method.epochs=5 method.batch_size=32 method.attack.steps=3" ;;
        *) echo "method.epochs=10 method.batch_size=64 method.attack.steps=5 method.attack.radius=0.3 method.attack.step_size=0.1" ;;
    esac
}
plain() { # Langevin with gamma and lam as the arguments have them; the size of the gradient is a sample's own
    data=$1 part=$2
    shift 2
    sweep "$data" "$part" method=langevin method.keep=null method.attack.relative=false $(attack "$data") "$@"
}
none="method.attack.gamma=0 method.attack.lam=0"
moving() { echo "method.batch_norm=train method.optimizer.lr=$(rate "$1" train)"; }
still() { echo "method.batch_norm=eval,frozen method.optimizer.lr=$(rate "$1" eval)"; }
rate() { # chosen by the part rates
    case $1-$2 in
        digits28-train) echo 3e-5 ;;
        digits28-eval) echo 3e-7 ;;
        *-train) echo 1e-3 ;;
        cifar10-eval) echo 1e-4 ;;
        *) echo 1e-5 ;;
    esac
}

# The published gammas (0, 1e-4, .1 and 1, and .01) and lambdas (0, 1e-3 and .1) are of the gradient of a mean over 64 samples:
# 64 times as much of a sample's own gradient.
grid() {
    for policy in moving still; do
        settings=$($policy "$1")
        if [ "$1" = cifar10 ]; then # fewer cells, since a run there takes several times as long
            plain "$1" grid $settings method.attack.gamma=0,0.0064,64 method.attack.lam=0,6.4
            plain "$1" grid $settings method.attack.gamma=0.64 method.attack.lam=0.064
            plain "$1" relative $settings method.attack.relative=true method.attack.gamma=1 method.attack.lam=0
        else
            plain "$1" grid $settings method.attack.gamma=0,0.0064,6.4,64 method.attack.lam=0,0.064,6.4
            plain "$1" grid $settings method.attack.gamma=0.64 method.attack.lam=0,0.064
            plain "$1" relative $settings method.attack.relative=true method.attack.gamma=0.1,1,10 method.attack.lam=0
        fi
        sweep "$1" fgsm method=boundary_shrink method.keep=null $settings $(attack "$1") method.attack.steps=1 \
            method.attack.step_size=null
    done
    plain "$1" controls $none method.batch_norm=train,eval,frozen method.optimizer.lr=0,1e-5
}
partial() {
    shares=scenario.fraction=0.1,0.25,0.5,0.75,null
    plain "$1" partial $(moving "$1") $shares method.attack.gamma=0.0064 method.attack.lam=0
    plain "$1" partial $(moving "$1") $shares $none
    sweep "$1" partial method=finetune method.keep=null $shares $(finetune "$1" method)
}
composition() {
    sweep "$1" composition method=compose evaluation.every=1 method.k=-1,1 method.keep=null \
        method.forget.keep=null $(moving "$1" | sed 's/method/method.forget/g') \
        $(attack "$1" | sed 's/method/method.forget/g') method.forget.attack.steps=1 method.forget.attack.step_size=null \
        method.remain.keep=null $(finetune "$1" method.remain)
}
finetune() {
    case $1 in
        cifar10) echo "$2.epochs=3 $2.batch_size=64 $2.optimizer.lr=0.04" ;;
        *) echo "$2.epochs=10 $2.batch_size=32 $2.optimizer.lr=0.1" ;;
    esac
}
rates() { # by retain accuracy less forget accuracy, both of training samples, of the plain attack
    seeds=100
    plain "$1" rates $none retrained=false method.batch_norm=train,eval method.optimizer.lr=1e-7,3e-7,1e-6,1e-5,3e-5,1e-4,1e-3,1e-2
    python -m unlearning.report "$out/$1/rates/multirun" --out "$out/$1/rates" --metrics forget/acc,retain/acc,val/acc
}

python -m experiments.digits28 --out "$out/images" || exit 1
lane() {
    set -e
    for data in "$@"; do
        case " $data_sets " in *" $data "*) for part in $parts; do "$part" "$data"; done ;; esac
    done
}
(lane cifar10) & on_cifar10=$!
(lane digits digits28) & on_digits=$!
wait $on_cifar10 && wait $on_digits || exit 1
[ "$parts" != rates ] || exit 0
set -e
columns=test_forget/acc,test_retain/acc,forget/acc,retain/acc,distance/retrain,gap/mean,cost/seconds
printf '# Results\n\nPrinted by `sweeps.sh`, data set by data set and part by part.\n' > "$out/results.md"
for data in digits digits28 cifar10; do
    for part in grid controls relative fgsm partial composition; do
        folder="$out/$data/$part" shown="--metrics $columns"
        [ -d "$folder/multirun" ] || continue
        [ $part != grid ] || shown="--metrics test_forget/acc,test_retain/acc --heat method.attack.gamma,method.attack.lam"
        python -m unlearning.report "$folder/multirun" --out "$folder" $shown
        { printf '\n# %s: %s\n\n' "$data" "$part" && cat "$folder/report.md"; } >> "$out/results.md"
    done
    [ ! -f "$out/$data/grid/heat.png" ] || cp "$out/$data/grid/heat.png" "$out/${data}_heat.png"
done
python -m experiments.langevin.claims --out "$out" > "$out/claims.md"
cat "$out/claims.md"
