#!/bin/sh
# Make every run of this study, two sweeps at a time: sh sweeps.sh CIFAR10_DIR OUT
# CIFAR10_DIR holds train/<class>/ and test/<class>/; the runs and the reference models go to OUT.
cifar10=$(cd "$1" && pwd) && mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
export OMP_NUM_THREADS=1

sweep() { python run.py -m paths.root="$out" tracking=none "$@"; }
pairs() { sweep experiment=feasible_updates_reduced "$@"; }
others() { sweep evaluation=full evaluation.zrf=null evaluation.noise_curve=null evaluation.svc_membership.limit=300 seed=0,1,2 "$@"; }

# The authors' forms of focus, prob and SalUn (saliency_batch) beside ours.
authors_salun="addon=[saliency_batch] addon.saliency_batch.hold=gradients"
old_focus="addon=[focus] addon.focus.rho_weighs=old"
old_prob="addon=[prob] addon.prob.rho_weighs=old"
# The pairs are run at several rates, and the plain objectives with other forget weights: otherwise an add-on that forgets at
# a lower price could not be told from another step size or weight. Pairs run at a single rate are shown in results.md only.
(
    set -e
    set -- dataset=cifar10_folder dataset.root="$cifar10" model=resnet9 model.width=8 pretrain.epochs=20 pretrain.batch_size=32 \
        scenario=random scenario.fraction=0.1
    pairs "$@" method.optimizer.lr=5e-4,1e-3,2e-3,4e-3,8e-3 'addon=[],[prob],[focus]'
    pairs "$@" method.optimizer.lr=1e-3,2e-3,4e-3 method.forget_weight=0.2,0.4 'addon=[]'
    pairs "$@" method.optimizer.lr=4e-3,8e-3 $authors_salun
) & on_cifar10=$!
(
    set -e
    class="scenario=class scenario.fraction=0.8"
    pairs $class method.optimizer.lr=2.5e-4,1e-3,4e-3 'addon=[],[saliency],[prob],[focus]'
    pairs $class method.optimizer.lr=2.5e-4,1e-3,4e-3 method.forget_weight=0.02,0.2 'addon=[]'
    pairs $class method.optimizer.lr=2.5e-4,1e-3,4e-3 $authors_salun
    alone="addon=[] method.retain_weight=1 method.forget_weight=1"
    scrub_joint="method=scrub_joint method.epochs=10 method.batch_size=32 method.optimizer.lr=2e-3"
    for forgotten in "$class" "scenario=random scenario.fraction=0.1"; do
        pairs $forgotten
        pairs $forgotten 'addon=[opt]' addon.opt.scope=tensor
        others $forgotten $scrub_joint 'addon=[],[l1],[saliency],[opt],[prob],[and],[focus],[focus_opt]'
        for other in "$authors_salun" "$old_focus" "$old_prob"; do
            pairs $forgotten $other
        done
        pairs $forgotten $alone method=finetune # the authors' form of the baselines, and then ours
        pairs $forgotten $alone method=msg,conv_transpose method.epochs=9 # after an epoch that makes the edit alone
        others $forgotten method=finetune,gradient_ascent,msg,conv_transpose,retrain
    done
) & on_digits=$!
wait $on_cifar10 && wait $on_digits || exit 1
columns=forget/acc,forget/rua,retain/acc,test/acc,distance/fidelity_forget,mia/svc_entropy_nonmember
python -m unlearning.report "$out/multirun" --out "$out" --metrics "$columns,gap/mean,gap/mean_svc,cost/passes"
python -m experiments.feasible_updates.tradeoff "$out"
