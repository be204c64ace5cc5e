#!/usr/bin/env bash
# A PostgreSQL server, made, used and taken down again: a search with two workers, of which one is killed.
#
#   apt-get install postgresql && pip install 'e3frame[postgresql]'
#   bash scripts/roads/postgresql.sh [PYTHON]
#
# All files are in a scratch folder, which is removed at the end. Root runs the server as the user postgres.
set -euo pipefail
python=$(command -v "${1:-python3}")
source_tree=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d -t e3frame_postgresql.XXXXXX)
export PYTHONPATH=$source_tree OMP_NUM_THREADS=1
programs=$(dirname "$(find /usr/lib/postgresql /usr/bin -name initdb | sort | tail -n 1)")
port=15432
as() { if [ "$(id -u)" = 0 ]; then (cd / && setpriv --reuid=postgres --regid=postgres --init-groups "$@"); else "$@"; fi; }

end() {
    kill "${search:-0}" 2>/dev/null || true
    as "$programs/pg_ctl" --pgdata="$scratch/data" --mode=immediate stop >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap end EXIT
say() { printf '\n== %s\n' "$*"; }

say "a server"
mkdir "$scratch/data"
[ "$(id -u)" != 0 ] || { chmod 755 "$scratch" && chown postgres "$scratch/data"; }
echo secret >"$scratch/password"
chmod 644 "$scratch/password"
as "$programs/initdb" --pgdata="$scratch/data" --username=e3frame --auth=scram-sha-256 --pwfile="$scratch/password" >/dev/null
as "$programs/pg_ctl" --pgdata="$scratch/data" --wait --log="$scratch/data/log" \
    --options="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$scratch/data" start >/dev/null
export PGPASSWORD=secret
sql() { psql --host=127.0.0.1 --port="$port" --username=e3frame --dbname="${2:-studies}" --no-align --tuples-only --command="$1"; }
sql "create database studies" postgres
sql "select version()" | cut -d, -f1

say "a search with two workers"
cd "$scratch"
mkdir -p mine/sweep
cat >mine/sweep/shared.yaml <<EOF
name: shared
overrides: [experiment=smoke, model=nequip_small, trainer.num_threads=1, trainer.max_epochs=10]
space:
  optimizer.lr: {low: 1.0e-3, high: 1.0e-1, log: true}
objectives: [val_forces_mae]
trials: 6
workers: 2
heartbeat: 2
storage: postgresql://e3frame:secret@127.0.0.1:$port/studies
EOF
command=("$python" "$source_tree/scripts/sweep.py" --config-dir mine sweep=shared data.cache_dir="$scratch/cache")
"${command[@]}" >search.txt 2>&1 &
search=$!

say "one of them is killed while it trains"
trained="select value_json from trial_user_attributes join trials using (trial_id)
    where state = 'RUNNING' and key = 'worker' and trial_id in
        (select trial_id from trial_user_attributes where key = 'epoch')"
for _ in $(seq 300); do
    victim=$(sql "$trained" 2>/dev/null | head -n 1 | tr -d '"' | cut -d: -f2) || true
    [ -z "$victim" ] || break
    sleep 0.5
done
[ -n "$victim" ] || { cat search.txt; echo "nothing trains"; exit 1; }
kill -KILL "$victim"
echo "worker of process $victim was killed"
wait "$search" || { cat search.txt; exit 1; }
cat search.txt

say "what the database holds"
sql "select state, count(*) from trials group by state order by state"
points=$(sql "select count(distinct param_value) from trials join trial_params using (trial_id) where state = 'COMPLETE'")
complete=$(sql "select count(*) from trials where state = 'COMPLETE'")
echo "$complete complete trials of $points points"
[ "$complete" = 6 ] && [ "$points" = 6 ] || { echo "6 of 6 were expected"; exit 1; }

say "the server goes away, and a wrong password: one message each"
sed s/secret@/wrong@/ mine/sweep/shared.yaml >mine/sweep/wrong.yaml
"${command[@]/sweep=shared/sweep=wrong}" 2>&1 | tee wrong.txt || true
as "$programs/pg_ctl" --pgdata="$scratch/data" --mode=immediate stop >/dev/null
"${command[@]}" 2>&1 | tee gone.txt || true
for file in wrong.txt gone.txt; do
    (($(wc -l <"$file") <= 3)) || { echo "more than a message"; exit 1; }
done
say "all went well"
