#!/bin/bash
# Leave-one-subject-out as a plain job array: each job trains its share of the folds into one run folder on a shared disk.
# Submit from a checkout or any folder; what stands in CAPITALS is yours:
#   sbatch --array=1-8 scripts/slurm_array.sh configs/paper/slstt.yaml RUN data.protocol=cde data.root=PREPROCESSED
# A job that was lost or ran out of time: submit the same line again; finished folds are skipped, others continue.
#SBATCH --job-name=slstt
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --gpus-per-task=1
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
#SBATCH --output=slstt-%A-%a.log
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: sbatch --array=1-N $0 CONFIG RUN [section.key=value ...]" >&2
    exit 2
fi
config=$1 run=$2
shift 2
# SIGTERM comes two minutes before the end; slstt-train then saves and exits 130, which is no failure of the job.
code=0
srun slstt-train --config "$config" --out "$run" --shard "${SLURM_ARRAY_TASK_ID}/${SLURM_ARRAY_TASK_COUNT}" "$@" || code=$?
[ "$code" -eq 130 ] && echo "out of time: submit again to continue" && exit 0
exit "$code"
