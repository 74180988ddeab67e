#!/bin/sh
# The speed of small at 128 tokens and of base at 512 on one GPU, beside Hugging Face's Trainer; under eight minutes.
#
#     sh bench/gpu.sh OUT
#
# Writes OUT/small-128 and OUT/base-512, each .json, .md and .svg; the device's name stands in them. Made-up tokens.
# One that fails, or takes too long, does not keep the other from running.
set -u
out=${1:?usage: sh bench/gpu.sh OUT}
mkdir -p "$out"
failed=0
run() {
    name=$1 && shift
    timeout 230 sctd bench "$@" --device cuda --compile true --optimizer.name adamw --vocab-size 30522 \
        --against hf hf-compiled --rounds 10 --json "$out/$name.json" || failed=1
}
run small-128 --config small --batch.size 256 --seq-len 128
run base-512 --config base --batch.size 32 --seq-len 512
exit $failed
