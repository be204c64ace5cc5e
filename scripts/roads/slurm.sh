#!/usr/bin/env bash
# A one-node Slurm cluster, made, used and taken down again: a run, a requeue that goes on bit for bit, a multirun of eight.
#
#   apt-get install slurmctld slurmd slurm-client munge && pip install 'e3frame[cluster]'
#   bash scripts/roads/slurm.sh [PYTHON]
#
# As root, on a machine without another Slurm. All files are in a scratch folder, which is removed at the end.
set -euo pipefail
python=$(command -v "${1:-python3}")
source_tree=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d -t e3frame_slurm.XXXXXX)
chmod 755 "$scratch"
export SLURM_CONF=$scratch/slurm.conf PYTHONPATH=$source_tree OMP_NUM_THREADS=1
services=()

end() {
    for service in "${services[@]}"; do kill "$service" 2>/dev/null || true; done
    for service in "${services[@]}"; do wait "$service" 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap end EXIT

say() { printf '\n== %s\n' "$*"; }

wait_for() { # SECONDS COMMAND...
    local left=$1
    shift
    until "$@" >/dev/null 2>&1; do
        ((left-- > 0)) || { echo "timed out: $*"; tail -n 20 "$scratch"/*.log; exit 1; }
        sleep 1
    done
}

say "munge, slurmctld, slurmd"
mkdir -m 755 "$scratch/munge"
dd if=/dev/urandom of="$scratch/munge/key" bs=128 count=1 status=none
chmod 400 "$scratch/munge/key"
munged --foreground --force --key-file="$scratch/munge/key" --socket="$scratch/munge/socket" --num-threads=2 \
    --pid-file="$scratch/munge/pid" --log-file="$scratch/munge.log" --seed-file="$scratch/munge/seed" 2>/dev/null &
services+=($!)
cpus=$(nproc)
cat >"$SLURM_CONF" <<EOF
ClusterName=one
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$scratch/munge/socket,cred_expire=20
CredType=cred/munge
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$scratch/state
SlurmdSpoolDir=$scratch/spool
SlurmctldPidFile=$scratch/slurmctld.pid
SlurmdPidFile=$scratch/slurmd.pid
SlurmctldLogFile=$scratch/slurmctld.log
SlurmdLogFile=$scratch/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
ReturnToService=2
KillWait=5
OverTimeLimit=0
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$cpus State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
mkdir -p "$scratch/state" "$scratch/spool"
wait_for 20 test -S "$scratch/munge/socket"
slurmctld -D >/dev/null 2>&1 &
services+=($!)
slurmd -D >/dev/null 2>&1 &
services+=($!)
wait_for 60 bash -c "sinfo --noheader --format=%T | grep -q idle"
sinfo

cd "$scratch"
common=(experiment=smoke model=nequip_small data.cache_dir="$scratch/cache" trainer.accelerator=cpu)
train=("$python" "$source_tree/scripts/train.py" "${common[@]}")

say "a run by srun"
srun "${train[@]}" trainer.max_epochs=10 folder="$scratch/srun" | tail -n 5
# Epochs for about four minutes: the signal below comes after one or two, also if the machine is less busy by then.
epochs=$("$python" -c "import csv; print(max(50, round(10 * 240 / float(list(csv.DictReader(open('srun/metrics.csv')))[-1]['seconds']))))")

say "a run that is not disturbed"
long=(trainer.max_epochs="$epochs" trainer.progress_bar=false)
"${train[@]}" "${long[@]}" folder="$scratch/whole" >whole.txt
tail -n 5 whole.txt

say "the same run in three minutes at a time, told to save itself a minute before they are up"
cat >job.sh <<EOF
#!/usr/bin/env bash
#SBATCH --job-name=disturbed --time=3 --requeue --open-mode=append --signal=SIGUSR1@60 --output=$scratch/job.txt
srun --kill-on-bad-exit=1 ${train[*]} ${long[*]} folder=$scratch/disturbed
EOF
job=$(sbatch --parsable job.sh)
wait_for 1800 test -e disturbed/metrics.json
wait_for 60 bash -c "! squeue --noheader --job=$job | grep -q ."
grep -E "interrupted|goes on|queued" job.txt || true
tail -n 5 job.txt
(($(grep -c "interrupted by SIGUSR1" job.txt) > 0)) || { echo "it was never interrupted"; exit 1; }
"$python" - <<EOF
from pathlib import Path
from safetensors.torch import load_file
one, other = (load_file(f"{name}/model.safetensors") for name in ("whole", "disturbed"))
assert one.keys() == other.keys() and all(one[key].equal(other[key]) for key in one), "the weights differ"
print(f"{len(one)} tensors of weights are equal, bit for bit")
lines = [[line.rpartition(",")[0] for line in Path(name, "metrics.csv").read_text().splitlines()] for name in ("whole", "disturbed")]
print(len(lines[0]), "lines of metrics.csv")
EOF

say "a multirun of eight through submitit"
"${train[@]}" -m folder="$scratch/seeds" seed=1,2,3,4,5,6,7,8 hydra/launcher=submitit_slurm \
    hydra.launcher.partition=all hydra.launcher.timeout_min=10 hydra.launcher.array_parallelism="$cpus" | tail -n 12
find seeds -name metrics.json | sort
(($(find seeds -name metrics.json | wc -l) == 8)) || { echo "eight results were expected"; exit 1; }

say "the same command again leaves what is finished"
"${train[@]}" -m folder="$scratch/seeds" seed=1,2,3,4,5,6,7,8 hydra/launcher=submitit_slurm \
    hydra.launcher.partition=all hydra.launcher.timeout_min=10 | tail -n 3
say "all went well"
