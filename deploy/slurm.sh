#!/usr/bin/env bash
# A pretraining run on a SLURM cluster: sbatch deploy/slurm.sh DATA OUT [SETTINGS...]
# Where the job is preempted or its time is over, the run saves itself and the job is queued again; the same command
# goes on from the newest whole checkpoint. DATA and OUT are on a file system that all nodes see.
#SBATCH --job-name=sctd
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
set -euo pipefail
data=${1:?usage: sbatch slurm.sh DATA OUT [SETTINGS...]}
out=${2:?usage: sbatch slurm.sh DATA OUT [SETTINGS...]}
shift 2
began=$(date +%s)

# an agent that stayed and one that comes new find one another after a restart (torch 2.13, see docs/cluster.md)
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=110 # seconds to save in, after SIGTERM; torch's default is 30
master=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=1 torchrun \
  --nnodes="$SLURM_NNODES" --nproc-per-node="${SLURM_GPUS_ON_NODE:-1}" --max-restarts=3 \
  --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d --rdzv-endpoint="$master:29500" \
  -m sctd pretrain --data "$data" --out "$out" --resume if-begun "$@" &
run=$!

# a preemption and the end of the time come as SIGTERM: the run is told, saves itself, and is queued again
stopped=0
trap 'stopped=1; kill -TERM "$run" 2>/dev/null || true' TERM
code=0
wait "$run" || code=$?
if [ "$stopped" = 1 ]; then
  wait "$run" || true # it had gone on when the signal ended the first wait
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
fi
# an agent that gave another one up, a machine that is gone: queued again if the run has got on since, so that what would only
# fail anew is not. (torchrun's exit code is 1 whatever its processes' are.)
if [ "$code" != 0 ] && find "$out/checkpoints" -maxdepth 1 -name 'step-*' -newermt "@$began" 2>/dev/null | grep -q .; then
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
fi
exit "$code"
