#!/bin/sh
# dense, drop and sctd at 8 layers of 512 on one GPU, three seeds, at equal steps and at equal time, scored: ten minutes at
# most, and the same command goes on from there.
#
#     sh bench/gpu_compare.sh TEXTS SCORES WORK OUT [SECONDS]
#
# TEXTS: text files. SCORES: a folder that holds blimp and probing. WORK: data, runs and weights. OUT: the report, results
# and curves (a few MiB). STEPS, JOBS and GRAPHS in the environment: steps of dense, runs at once, CUDA graphs or not.
set -u
usage="usage: sh bench/gpu_compare.sh TEXTS SCORES WORK OUT [SECONDS]"
texts=${1:?$usage} scores=${2:?$usage} work=${3:?$usage} out=${4:?$usage} seconds=${5:-540}
mkdir -p "$work" "$out"
[ -e "$work/data/manifest.json" ] ||
    sctd prepare --input "$texts"/* --out "$work/data" --vocab-size 8192 --seq-len 128 || exit
timeout -s TERM "$seconds" sctd compare --data "$work/data" --config medium --arms dense drop sctd --seeds 1 2 3 \
    --schedule.name wsd --schedule.decay 0.3 --schedule.steps "${STEPS:-1600}" --schedule.warmup 0.1 --batch.size 128 \
    --device cuda --precision bf16 --compile true --cuda_graphs "${GRAPHS:-true}" --eval.every 200 --checkpoint.every 800 \
    --rounds 8 --jobs "${JOBS:-4}" --scores blimp probe --scores-data "$scores" --out "$work/compared"
ended=$?
for path in "$work"/compared/*.json "$work"/compared/report.* "$work"/compared/*.svg; do
    [ ! -e "$path" ] || cp "$path" "$out"
done
tar -C "$work" -czf "$out/compared.tar.gz" --exclude checkpoints --exclude '*.safetensors' compared
exit $ended
