#!/bin/sh
# Search the settings of corrective scenarios on the digits: sh presets.sh OUT
# It uses seeds 100 to 102, which no table of the study holds, at gamma = .3. The setting with the largest mean of Acc_corr and
# validation accuracy becomes a row of conf/table/<method>.yaml. Acc_corr needs the correct labels of all manipulated samples,
# which are known here, but not to a user with a manipulated data set. The first setting of a method's first grid is the one
# for forgetting a class.
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
export OMP_NUM_THREADS=1

sweep() {
    for scenario in poison confusion label_shuffle; do
        python run.py -m paths.root="$out" tracking=none evaluation.membership=null seed=100,101,102 \
            scenario=$scenario scenario.known=0.3 "$@"
    done
}
sweep method=xlf method.percentile=93,80,90,96,98,99,99.5 method.importance=per_sample,batch
rhos=method.rho=0.2,0,0.05,0.1,0.4,0.6,0.8
sweep method=potion $rhos method.measure=cross_entropy method.importance=per_sample,batch method.order=shuffled
sweep method=potion $rhos method.measure=norm method.importance=batch method.order=shuffled,by_class
sweep method=bad_teacher method.optimizer.lr=1e-3,3e-4,3e-3 method.epochs=5,1,2,10
sweep method=scrub method.alpha=0.5,0.001,0.05,5 method.msteps=3,1,5 method.forget_batch_size=8,64
sweep method=scrub method.alpha=0.5,0.001,0.05,5 method.maximise=loss method.msteps=null method.forget_until=20 method.epochs=11 \
    method.forget_batch_size=64 optimizer@method=sgd method.optimizer.lr=1e-2,2.5e-3,4e-2 method.optimizer.momentum=0.9 \
    method.optimizer.weight_decay=5e-4 schedule@method=linear # the benchmark's form, a tenth of whose steps are before step 20
sweep method=ssd method.alpha=1,2,5,10,20,50 method.lam=1,0.1
sweep method=influence_filter method.threshold=0.3,0.1,0.2,0.5,0.7,0.9
python -m unlearning.report "$out/multirun" --out "$out" --metrics corrective/acc_seen,val/acc,corrective/acc_retain
