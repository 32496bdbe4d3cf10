#!/usr/bin/env bash
# A real two-node SLURM cluster on one machine, as a test fixture.  Run as root.
#
#   cluster.sh up      start it (safe to repeat), wait until both nodes are in service;
#                      prints one line to eval:  export SLURM_CONF=...
#   cluster.sh down    kill its jobs and stop its daemons, by pid; safe to repeat
#   cluster.sh lose NODE    kill -9 a node's slurmd, its steps and their tasks, as if its power had gone
#   cluster.sh restore NODE start its slurmd again
#   cluster.sh status  show daemons, nodes, jobs; exit 0 only if all is healthy
#
#   SLURM_TEST_DIR     holds everything (its parents must be searchable by the users
#                      who submit jobs, and not writable by others, as munge insists)
#   SLURM_TEST_PORT    controller port; +1 and +2 are the nodes, +10..+200 the clients
#   SLURM_TEST_EXTRA   further slurm.conf lines (newlines between); the last one wins
set -euo pipefail

DIR=$(realpath -m "${SLURM_TEST_DIR:-${TMPDIR:-/tmp}/slurm-two-nodes}")
PORT=${SLURM_TEST_PORT:-17000}
NODES=(n0 n1)
DAEMONS=(munged slurmctld "${NODES[@]/#/slurmd-}")
export SLURM_CONF=$DIR/slurm.conf
PATH=$PATH:/usr/sbin:/sbin

say() { echo "cluster.sh: $*" >&2; }
die() {
  say "FAILED: $*"
  for f in "$DIR"/log/*; do
    [ -s "$f" ] && { say "--- tail of $f"; tail -n 15 "$f" >&2; }
  done
  exit 1
}
wait_for() { # SECONDS COMMAND...: poll until COMMAND succeeds
  local end=$((SECONDS + $1)); shift
  until "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 0.1; done
}

# Processes are found by pid file AND executable, so a reused pid is never hit.
exe_is() { [ "$(readlink -f "/proc/$1/exe" 2>/dev/null)" = "$(readlink -f "$(command -v "$2")")" ]; }
pid_of() { # NAME: print the daemon's pid, or fail
  local pid; pid=$(cat "$DIR/pid/$1" 2>/dev/null) && exe_is "$pid" "${1%-n?}" && echo "$pid"
}
all_alive() { local d; for d in "${DAEMONS[@]}"; do pid_of "$d" >/dev/null || return 1; done; }
stepds() { # [NODE]: pids of our slurmstepd: they outlive slurmd, and hold our log files open
  local p
  for p in /proc/[0-9]*; do
    exe_is "${p#/proc/}" slurmstepd && readlink "$p"/fd/* 2>/dev/null |
      grep -qF "$DIR/log/${1:+slurmd-$1.log}" && echo "${p#/proc/}"
  done
  return 0
}
gone() { local p; for p in "$@"; do [ ! -e "/proc/$p/exe" ] || return 1; done; } # zombies are gone
stop() { # PID...: TERM, then KILL after 10 s
  [ $# -gt 0 ] || return 0
  kill -TERM "$@" 2>/dev/null || true
  wait_for 10 gone "$@" || { kill -KILL "$@" 2>/dev/null || true; wait_for 5 gone "$@"; }
}
start() { # NAME COMMAND...: run a foreground-mode daemon in the background, note its pid
  local name=$1; shift
  setsid "$@" </dev/null >"$DIR/log/$name.out" 2>&1 9>&- &
  echo $! >"$DIR/pid/$name"
  wait_for 5 pid_of "$name" >/dev/null || die "$name did not start"
}

write_files() {
  local n i=0 bind=
  rm -rf "$DIR"/{log,pid,state,munge,spool-n?,tmp-n?}        # no memory of earlier runs
  mkdir -p "$DIR"/{log,pid,state,munge,spool-n0,spool-n1,tmp-n0,tmp-n1}
  chmod 755 "$DIR" "$DIR"/{munge,spool-n?}; chmod 1777 "$DIR"/tmp-n?
  # A private munge: the host's own key and socket are neither needed nor touched.
  (umask 077; head -c 128 /dev/urandom >"$DIR/munge/key")
  chown -R munge: "$DIR/munge"
  # These two bind to what the hostname resolves to, not to 127.0.0.1 as such.
  if [ "$(getent ahostsv4 "$(hostname)" | awk '{print $1; exit}')" = 127.0.0.1 ]; then
    bind=CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
  else
    say "$(hostname) is not 127.0.0.1 in /etc/hosts: SLURM will listen on all interfaces"
  fi
  # Both nodes share one /dev/shm and one hostname, so Open MPI's shared-memory files
  # would collide and ranks crash: all go over TCP, on lo.
  cat >"$DIR/taskprolog" <<PROLOG
#!/bin/sh
echo "export OMPI_MCA_btl=self,tcp"
echo "export OMPI_MCA_btl_tcp_if_include=lo"
echo "export OMPI_MCA_oob_tcp_if_include=lo"
echo "export OMPI_ALLOW_RUN_AS_ROOT=1"
echo "export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
PROLOG
  chmod 755 "$DIR/taskprolog"
  cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire: a requeued job waits this long + 1 s before it may restart (default 120).
AuthInfo=socket=$DIR/munge/socket,cred_expire=5
$bind
SrunPortRange=$((PORT + 10))-$((PORT + 200))
StateSaveLocation=$DIR/state
SlurmctldPidFile=$DIR/slurmctld.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdPidFile=$DIR/slurmd-%n.pid
SlurmdLogFile=$DIR/log/slurmd-%n.log
SlurmdSpoolDir=$DIR/spool-%n
# Believe the CPUs= below even on a smaller machine, instead of draining the node.
SlurmdParameters=config_overrides
TmpFS=$DIR/tmp-%n
MpiDefault=pmix
ProctrackType=proctrack/pgid
TaskPlugin=task/none
TaskProlog=$DIR/taskprolog
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# Look at waiting jobs every second (defaults 60 and 30), so that tests are quick.
SchedulerParameters=sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
GresTypes=gpu
$(for n in "${NODES[@]}"; do
  echo "NodeName=$n NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=$((PORT + ++i)) CPUs=32 Gres=gpu:4"
done)
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 MaxTime=INFINITE GraceTime=20
PartitionName=urgent Nodes=ALL PriorityTier=10 MaxTime=INFINITE PreemptMode=OFF
${SLURM_TEST_EXTRA:-}
CONF
  # Nothing here uses cgroups, but slurmd always loads a cgroup plugin.  v1 asks nothing
  # of the host when unused; the default picks by what is mounted, and may fail on it.
  echo CgroupPlugin=cgroup/v1 >"$DIR/cgroup.conf"
  # GPUs that are none: SLURM wants devices; it hands them out, and sets CUDA_VISIBLE_DEVICES.
  for i in 0 1 2 3; do ln -sf /dev/null "$DIR/gpu$i"; done
  echo "Name=gpu File=$DIR/gpu[0-3]" >"$DIR/gres.conf"
}

lock() { mkdir -p "$DIR"; exec 9>"$DIR/lock"; flock -w 60 9 || die "$DIR/lock is held"; }
in_service() { # every node registered and answering: idle, or busy with jobs
  [ "$(timeout 5 sinfo -hN -p main -o '%N %T' 2>/dev/null |
    grep -cE ' (idle|mixed|allocated|completing)$')" = ${#NODES[@]} ]
}
up() {
  [ "$(id -u)" = 0 ] || die "must run as root"
  lock
  trap '[ $? = 0 ] || down_locked' EXIT        # a failed start leaves nothing behind
  if ! all_alive; then                         # a half-alive cluster is restarted whole
    down_locked
    write_files
    start munged setpriv --reuid=munge --regid=munge --clear-groups munged --foreground \
      --socket="$DIR/munge/socket" --key-file="$DIR/munge/key" --seed-file="$DIR/munge/seed" \
      --pid-file="$DIR/munge/munged.pid" --log-file="$DIR/munge/munged.log"
    wait_for 5 test -S "$DIR/munge/socket" || die "munged made no socket"
    start slurmctld slurmctld -D -f "$SLURM_CONF"
    local n; for n in "${NODES[@]}"; do start "slurmd-$n" slurmd -D -f "$SLURM_CONF" -N "$n"; done
  fi
  until in_service; do
    all_alive || die "a daemon died"
    [ $SECONDS -lt 60 ] || { sinfo -N -l >&2 || true; die "nodes not in service after 60 s"; }
    sleep 0.1
  done
  say "up in $DIR"
  echo "export SLURM_CONF=$SLURM_CONF"
}

descendants() { local c; for c in $(ps -o pid= --ppid "$1"); do echo "$c"; descendants "$c"; done; }
kill_tasks() { # [NODE]: KILL what our slurmstepd run, with the process groups of all of it
  local p d g
  for p in $(stepds "$@"); do
    d=$(descendants "$p" | paste -sd,); [ -n "$d" ] || continue
    for g in $(ps -o pgid= -p "$d" | sort -u); do kill -KILL -- "-$g" 2>/dev/null || true; done
  done
}
jobs_ended() { # tasks first: scancel alone, even -s KILL, sends TERM and waits KillWait
  local jobs; mapfile -t jobs < <(timeout 5 squeue -h -o %A 2>&1)
  [ ${#jobs[@]} -gt 0 ] || return 0
  kill_tasks; timeout 5 scancel "${jobs[@]}" 2>/dev/null || true
  sleep 0.3; return 1
}
down_locked() {
  local d p pids=()
  if all_alive; then                           # with SLURM up, so that every srun returns
    wait_for 15 jobs_ended || say "jobs still there after 15 s: killing their slurmstepd"
  fi
  for d in "${NODES[@]/#/slurmd-}" slurmctld; do p=$(pid_of "$d") && pids+=("$p"); done
  stop "${pids[@]}" || die "still running: ${pids[*]}"
  kill_tasks                                   # a crashed cluster may have left some
  for p in $(stepds); do wait_for 3 gone "$p" || kill -KILL "$p" 2>/dev/null || true; done
  p=$(pid_of munged) && { stop "$p" || die "still running: munged $p"; }
  rm -f "$DIR"/pid/*
}
down() { [ -d "$DIR" ] || return 0; lock; down_locked; say "down"; }

lose() {
  local p; mapfile -t p < <(pid_of "slurmd-$1"; stepds "$1")
  kill -STOP "${p[@]}"                         # so that none tells of the others' deaths
  kill_tasks "$1"; kill -KILL "${p[@]}"
}
restore() { # with what a boot clears: a step can't start where a dead one's socket is
  lock; rm -rf "$DIR/spool-$1"/*pmix* "$DIR/tmp-$1"/*
  start "slurmd-$1" slurmd -D -f "$SLURM_CONF" -N "$1"
}

status() {
  local d
  for d in "${DAEMONS[@]}"; do echo "$d: $(pid_of "$d" || echo "not running")"; done
  all_alive || return 1
  sinfo -N -l; squeue; in_service
}

case ${1:-} in
  up|down|status) "$1";;
  lose|restore) "$1" "$2";;
  *) echo "usage: $0 up|down|status|lose NODE|restore NODE" >&2; exit 2;;
esac
