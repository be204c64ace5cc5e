#!/usr/bin/env bash
# Two machines, as two network namespaces joined by a cable: torchrun trains on both what one process trains alone.
#
#   bash scripts/roads/torchrun.sh [PYTHON]
#
# As root. Nothing leaves the namespaces. All files are in a scratch folder, which is removed at the end.
set -euo pipefail
python=$(command -v "${1:-python3}")
source_tree=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d -t e3frame_torchrun.XXXXXX)
export PYTHONPATH=$source_tree OMP_NUM_THREADS=1
nodes=(e3frame0 e3frame1)

end() {
    jobs -p | xargs -r kill 2>/dev/null || true
    for node in "${nodes[@]}"; do ip netns delete "$node" 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap end EXIT
say() { printf '\n== %s\n' "$*"; }

say "two namespaces"
for node in "${nodes[@]}"; do ip netns add "$node"; done
ip link add cable0 netns e3frame0 type veth peer name cable1 netns e3frame1
for k in 0 1; do
    ip -n "e3frame$k" link set lo up
    ip -n "e3frame$k" link set "cable$k" up
    ip -n "e3frame$k" address add "10.93.0.$((k + 1))/24" dev "cable$k"
done
ip -n e3frame0 -brief address
ip -n e3frame1 -brief address

cd "$scratch"
train=(experiment=smoke model=nequip_small data.cache_dir="$scratch/cache" trainer.accelerator=cpu trainer.dtype=float64
    trainer.max_epochs=5 trainer.progress_bar=false)

say "one process"
"$python" "$source_tree/scripts/train.py" "${train[@]}" folder=one >one.txt 2>&1
tail -n 5 one.txt

on() { # NODE: its part of the training
    ip netns exec "e3frame$1" env GLOO_SOCKET_IFNAME="cable$1" "$python" -m torch.distributed.run \
        --nnodes=2 --node-rank="$1" --nproc-per-node=1 --master-addr=10.93.0.1 --master-port=29400 \
        "$source_tree/scripts/train.py" "${train[@]}" trainer.num_nodes=2 "${@:2}"
}

say "two machines"
on 1 folder=two >second.txt 2>&1 &
on 0 folder=two >first.txt 2>&1 || { cat first.txt second.txt; exit 1; }
wait $! || { cat second.txt; exit 1; }
tail -n 5 first.txt
echo "what the second machine wrote:"
cat second.txt
ip -n e3frame1 -statistics link show cable1 | awk '/RX/ {getline; print $1, "bytes were received by the second machine"}'
"$python" - <<EOF
import csv
from safetensors.torch import load_file
one, two = (load_file(f"{name}/model.safetensors") for name in ("one", "two"))
far = max(float((one[key] - two[key]).abs().max()) for key in one)
rows = [[{k: float(v) for k, v in row.items() if k != "seconds"} for row in csv.DictReader(open(f"{name}/metrics.csv"))] for name in ("one", "two")]
metrics = max(abs(a[k] - b[k]) / max(abs(a[k]), 1e-12) for a, b in zip(*rows, strict=True) for k in a)
print(f"weights differ by {far:.1e} at most, {len(rows[0])} lines of metrics.csv by {metrics:.1e}")
assert one.keys() == two.keys() and far < 1e-8 and metrics < 1e-6
EOF

say "the second machine is lost"
on 1 folder=lost trainer.max_epochs=3000 >second.txt 2>&1 &
on 0 folder=lost trainer.max_epochs=3000 >first.txt 2>&1 &
first=$!
until [ -e lost/metrics.csv ] && (($(wc -l <lost/metrics.csv) > 2)); do sleep 0.5; done
ip netns pids e3frame1 | xargs kill -KILL
code=0
wait "$first" || code=$?
grep -A 1 "another process of this training has ended" first.txt || true # what follows is torchrun's
[ "$code" != 0 ] || { echo "an error was expected"; exit 1; }
grep -q "another process of this training has ended" first.txt || { echo "no message"; exit 1; }
say "all went well"
