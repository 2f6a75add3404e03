#!/bin/sh
# Every run of this study, two sweeps at a time: sh sweeps.sh CIFAR10_DIR OUT
# CIFAR10_DIR holds train/<class>/ and test/<class>/; the runs and the reference models go to OUT.
cifar10=$(cd "$1" && pwd) && mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
export OMP_NUM_THREADS=1

sweep() { python run.py -m paths.root="$out" tracking=none "$@"; }
pairs() { sweep experiment=feasible_updates_reduced "$@"; }
metrics="evaluation=full evaluation.zrf=null evaluation.noise_curve=null evaluation.svc_membership.limit=300"
others() { sweep $metrics seed=0,1,2 "$@"; }

cifar() { # what all runs on CIFAR-10 share
    "$@" dataset=cifar10_folder dataset.root="$cifar10" model.width=16 scenario=random scenario.fraction=0.1
}
(
    cifar pairs method.optimizer.lr=1e-3 'addon=[],[saliency],[opt],[prob],[and],[focus]'
    # NegGrad+ destroys too much at that rate with prob and focus: is it better at half of it?
    neggrad_plus="method=neggrad_plus +method.epoch_of=shortest method.epochs=10 method.batch_size=32"
    adam="method.optimizer._target_=torch.optim.Adam ~method.optimizer.momentum=0.9 method.optimizer.weight_decay=0"
    cifar others $neggrad_plus $adam method.optimizer.lr=5e-4 'addon=[],[prob],[focus]'
) &
(
    scrub_joint="method=scrub_joint method.epochs=10 method.batch_size=32 method.optimizer.lr=2e-3"
    stacks='addon=[],[l1],[saliency],[opt],[prob],[and],[focus],[focus_opt]'
    for forgotten in "scenario=random scenario.fraction=0.1" "scenario=class scenario.fraction=0.8"; do
        pairs $forgotten
        pairs $forgotten method.optimizer.lr=1e-3,4e-3 'addon=[]'
        others $forgotten $scrub_joint "$stacks"
        others $forgotten method=finetune,gradient_ascent,msg,conv_transpose,retrain
    done
) &
wait
columns=forget/acc,forget/rua,retain/acc,test/acc,distance/fidelity_forget,mia/svc_entropy_nonmember
python -m unlearning.report "$out/multirun" --out "$out" --metrics "$columns,gap/mean,gap/mean_svc,cost/seconds"
