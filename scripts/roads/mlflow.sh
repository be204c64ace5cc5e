#!/usr/bin/env bash
# Runs in an MLflow store of SQLite: one that is stopped and goes on is one run there, as its server shows.
#
#   pip install mlflow && apt-get install chromium   # without chromium, no picture of the page
#   bash scripts/roads/mlflow.sh [PYTHON [PICTURE.png]]
#
# All other files are in a scratch folder, which is removed at the end.
set -euo pipefail
python=$(command -v "${1:-python3}")
picture=${2:-}
source_tree=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d -t e3frame_mlflow.XXXXXX)
export PYTHONPATH=$source_tree OMP_NUM_THREADS=1 MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
port=15000

end() {
    jobs -p | xargs -r kill 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$scratch"
}
trap end EXIT
say() { printf '\n== %s\n' "$*"; }
cd "$scratch"
train=("$python" "$source_tree/scripts/train.py" experiment=smoke model=nequip_small data.cache_dir="$scratch/cache"
    trainer.accelerator=cpu logger=mlflow logger.tracking_uri=sqlite:///mlflow.db)

say "a run that is stopped, and goes on"
"${train[@]}" trainer.max_epochs=200 folder=stopped >stopped.txt 2>&1 &
run=$!
until [ -e stopped/metrics.csv ] && (($(wc -l <stopped/metrics.csv) > 5)); do sleep 0.2; done
kill -TERM "$run"
wait "$run" || true
grep -A 1 interrupted stopped.txt
epochs=$(($(wc -l <stopped/metrics.csv) + 20))
"${train[@]}" trainer.max_epochs="$epochs" folder=stopped >again.txt 2>&1 || { cat again.txt; exit 1; }
grep "going on" again.txt

say "another run"
"${train[@]}" trainer.max_epochs=10 folder=other >other.txt 2>&1
[ ! -e mlruns ] || { echo "mlruns/ was not asked for"; exit 1; }

say "what the store holds"
"$python" - "$epochs" <<EOF 2>/dev/null
import sys
from mlflow import MlflowClient
client = MlflowClient("sqlite:///mlflow.db")
runs = client.search_runs([client.get_experiment_by_name("e3frame").experiment_id])
found = {}
for run in runs:
    history = client.get_metric_history(run.info.run_id, "val_forces_mae")
    found[run.info.run_name] = sorted({point.step for point in history})
    print(f"{run.info.run_name}: {run.info.status}, {len(found[run.info.run_name])} epochs, {len(run.data.metrics)} metrics")
assert {name: len(steps) for name, steps in found.items()} == {"stopped": int(sys.argv[1]), "other": 10}, found
EOF

say "a store that is not there, and one without a driver: one message each"
for uri in sqlite:////nowhere/mlflow.db postgresql+pg8000://host/db http://127.0.0.1:9; do
    "${train[@]}" logger.tracking_uri="$uri" folder=wrong 2>&1 >/dev/null | grep -v "INFO\|WARNING" | tee wrong.txt || true
    (($(wc -l <wrong.txt) <= 3)) || { echo "more than a message"; exit 1; }
done

say "its page"
"$python" -m mlflow server --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port "$port" --workers 1 >server.txt 2>&1 &
for _ in $(seq 120); do "$python" -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$port/health')" 2>/dev/null && break; sleep 1; done
if [ -n "$picture" ] && browser=$(command -v chromium || command -v chromium-browser); then
    experiment=$("$python" -c "from mlflow import MlflowClient; print(MlflowClient('sqlite:///mlflow.db').get_experiment_by_name('e3frame').experiment_id)" 2>/dev/null)
    "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$scratch/browser" --window-size=1400,900 \
        --virtual-time-budget=30000 --screenshot="$scratch/page.png" "http://127.0.0.1:$port/#/experiments/$experiment/runs" >/dev/null 2>&1
    cp "$scratch/page.png" "$picture"
    echo "the page is in $picture"
fi
say "all went well"
