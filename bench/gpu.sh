#!/bin/sh
# The speed of base at 512 tokens and of small at 128 on one GPU, beside Hugging Face's Trainer; under eight minutes.
#
#     sh bench/gpu.sh OUT
#
# Writes OUT/base-512 and OUT/small-128, each .json, .md and .svg; the device's name stands in them. Made-up tokens.
set -eu
out=${1:?usage: sh bench/gpu.sh OUT}
mkdir -p "$out"
run() {
    name=$1 && shift
    timeout 230 sctd bench "$@" --device cuda --compile true --optimizer.name adamw --vocab-size 30522 \
        --against hf hf-compiled --rounds 20 --json "$out/$name.json"
}
run small-128 --config small --batch.size 256 --seq-len 128
run base-512 --config base --batch.size 64 --seq-len 512
