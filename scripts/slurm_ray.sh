#!/bin/bash
# Leave-one-subject-out on a Ray cluster over the allocated nodes: folds are handed out as workers become free, and a
# lost node's folds go on elsewhere. Data and run folder must lie on a disk that all nodes see.
#   sbatch --nodes=4 scripts/slurm_ray.sh configs/paper/slstt.yaml RUN data.protocol=cde data.root=PREPROCESSED
# Needs pip install 'slstt[ray]' on every node. Submitting the same line again continues the run.
#SBATCH --job-name=slstt-ray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=4
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@180
#SBATCH --output=slstt-ray-%j.log
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: sbatch --nodes=N $0 CONFIG RUN [section.key=value ...]" >&2
    exit 2
fi
config=$1 run=$2
shift 2
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
address=$(srun --nodes=1 --ntasks=1 --overlap -w "$head" hostname --ip-address | awk '{print $1}'):6379
ray_options=(--num-cpus "$SLURM_CPUS_PER_TASK" --num-gpus "${SLURM_GPUS_PER_NODE##*:}" --block)

srun --nodes=1 --ntasks=1 --overlap -w "$head" ray start --head --port=6379 "${ray_options[@]}" &
sleep 15
if [ "${#nodes[@]}" -gt 1 ]; then
    # --no-kill: the step, and with it the run, outlives the loss of one node.
    srun --nodes=$((${#nodes[@]} - 1)) --ntasks=$((${#nodes[@]} - 1)) --overlap --no-kill --exclude="$head" \
        ray start --address="$address" "${ray_options[@]}" &
    sleep 15
fi

slstt-train --config "$config" --out "$run" run.executor=ray run.ray.address="$address" \
    run.device=cuda run.ray.gpus_per_fold=1 "$@" &
train=$!
trap 'kill -TERM "$train"' TERM INT
code=0
wait "$train" || code=$?
if kill -0 "$train" 2>/dev/null; then  # the signal ended the waiting, not the run: it is saving
    code=0
    wait "$train" || code=$?
fi
[ "$code" -eq 130 ] && echo "out of time: submit again to continue" && exit 0
exit "$code"
