#!/usr/bin/env bash
# Two hosts on one machine, as network namespaces with addresses of their own: a run over both, one of which is killed, or
# cut off, and comes back, must end on the losses of a run that nothing disturbed. Needs root, iproute2 and a data folder:
#   sudo deploy/two_hosts.sh DATA SCRATCH [PYTHON]
set -euo pipefail
data=${1:?usage: two_hosts.sh DATA SCRATCH [PYTHON]}
scratch=${2:?usage: two_hosts.sh DATA SCRATCH [PYTHON]}
python=${3:-python3}
mkdir -p "$scratch"
bridge=sctd-br
settings=(--model.num_layers 4 --model.hidden_size 64 --model.num_heads 2 --schedule.steps 300 --batch.size 16
  --precision fp32 --device cpu --checkpoint.every 25 --log.every 1 --eval.every 100 --eval.sequences 32
  --eval.baselines false --log.tensorboard false --method sctd)

clean() {
  for host in 1 2; do
    ip netns pids "sctd$host" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
    ip netns del "sctd$host" 2>/dev/null || true
  done
  ip link del "$bridge" 2>/dev/null || true
}
trap clean EXIT
clean
ip link add "$bridge" type bridge
ip link set "$bridge" up
for host in 1 2; do
  ip netns add "sctd$host"
  ip link add "sctd-v$host" type veth peer name eth0 netns "sctd$host"
  ip link set "sctd-v$host" master "$bridge" up
  ip -n "sctd$host" addr add "10.77.0.$host/24" dev eth0
  ip -n "sctd$host" link set eth0 up
  ip -n "sctd$host" link set lo up
done

# Host 1 keeps the rendezvous. Without the second variable (torch 2.13) an agent that stayed remembers the first
# round's address and does not tell it to one that comes new, and both wait for ever.
start() { # host, run: torchrun's agent on that host, in the background
  ip netns exec "sctd$1" env OMP_NUM_THREADS=1 GLOO_SOCKET_IFNAME=eth0 TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 \
    "$python" -m torch.distributed.run --nnodes=2 --nproc-per-node=1 --max-restarts=3 --rdzv-id="$2" \
    --rdzv-backend=c10d --rdzv-endpoint=10.77.0.1:29577 --rdzv-conf="is_host=$((1 == $1))" --local-addr="10.77.0.$1" \
    -m sctd pretrain --data "$data" --out "$scratch/$2" --resume if-begun "${settings[@]}" \
    >"$scratch/$2-host$1.log" 2>&1 &
}
steps() { grep -c '"loss_total"' "$scratch/$1/metrics.jsonl" 2>/dev/null || true; }

reach() { until [ "$(steps "$1")" -ge "$2" ] 2>/dev/null; do sleep 0.2; done; }

rm -rf "$scratch"/{whole,killed,waited,lost}
start 1 whole; first=$!
start 2 whole; second=$!
wait "$first" "$second"
echo "undisturbed: $(steps whole) steps"

start 1 killed; first=$!
start 2 killed
reach killed 120
ip netns pids sctd2 | xargs -r kill -9
echo "killed: host 2 after step $(steps killed)"
sleep 20 # a host is not back sooner; torchrun takes 15 s to notice that it was gone
start 2 killed; second=$!
wait "$first" "$second"

# What starts an agent starts it again when it gave up (systemd, Kubernetes, a queue; here this loop).
keep() { # host, run: in the background, until the run is over
  for attempt in 1 2 3 4 5 6; do
    start "$1" "$2"
    wait "$!" && return
    echo "$2: the agent of host $1 gave up, start $attempt; again"
    sleep 5
  done
  return 1
}

# A host that is cut off keeps its processes. For less than about a minute both wait, and go on as TCP sends again what was
# lost. After that torchrun's agents give each other up; and where the connections are lost too (by default after 15
# minutes, here after some seconds, by sysctl), the processes end.
for run in waited lost; do
  keep 1 "$run" & first=$!
  keep 2 "$run" & second=$!
  reach "$run" 120
  seconds=20
  if [ "$run" = lost ]; then
    seconds=60
    for host in 1 2; do ip netns exec "sctd$host" sysctl -qw net.ipv4.tcp_retries2=3; done
  fi
  ip -n sctd2 link set eth0 down
  echo "$run: host 2 cut off for $seconds s after step $(steps "$run")"
  sleep "$seconds"
  ip -n sctd2 link set eth0 up
  wait "$first"
  wait "$second"
done
"$python" - "$scratch" <<'PYTHON'
import json, sys
from pathlib import Path

def curve(run):
    lines = [json.loads(line) for line in (Path(sys.argv[1]) / run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss_total"] for line in lines if "loss_total" in line]

whole, worst = curve("whole"), 0.0
for run in ("killed", "waited", "lost"):
    difference = max(abs(a - b) for a, b in zip(whole, curve(run), strict=True))
    print(f"{run}: {len(whole)} steps; the largest difference of a step's loss is {difference:.1e} nats")
    worst = max(worst, difference)
sys.exit(worst > 1e-4)
PYTHON
