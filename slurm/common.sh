# shellcheck shell=bash
# What the sbatch scripts here have in common. They source it from the qtaylor folder, so keep that folder where it is
# while jobs wait or run; a script of your own needs JOB and, if it likes, the settings below, then `qtaylor_job`.
#
# The script outlives its ranks: whatever ended them (done, time limit, preemption, a lost node, a crash), `qtaylor
# verify` then reads what is on disk, and that alone decides: complete: exit 0; incomplete (75): requeue; anything else:
# stop.

: "${LAUNCHER:=srun}"                # srun | mpirun
: "${DEVICE:=cuda}"                  # cuda | cpu
: "${PROGRAM:=build/torch/qtaylor}"  # relative to the qtaylor folder
: "${MAX_RESTARTS:=100}"             # preemptions and time limits a job may take in all
[[ $PROGRAM = /* ]] || PROGRAM=$QTAYLOR_HOME/$PROGRAM
declare -a OVERRIDES CONTAINER SRUN_OPTIONS # may be set by the script
# How cores are counted for binding differs from site to site.
[ -n "${MPIRUN_OPTIONS+set}" ] || MPIRUN_OPTIONS=(--bind-to none)

say() { echo "$(date '+%F %T') job ${SLURM_JOB_ID:-none}, start $((${SLURM_RESTART_COUNT:-0} + 1)): $*"; }
qtaylor() { "${CONTAINER[@]}" "$PROGRAM" "$@"; }

# SLURM sends the ranks TERM when it preempts or cancels, but USR1 before the time limit to this shell alone (B:), and
# TERM to it when nothing can be put off any more. Both go on to the ranks as USR1, which srun and mpirun alike hand
# over.
launcher="" list=""
trap 'say "USR1: the time limit is near"; forward' USR1
trap 'say "TERM: this job is being ended"; forward' TERM
forward() { [ -z "$launcher" ] || kill -USR1 "$launcher" 2>/dev/null || true; }

unpacked_mpirun() { # where packages were unpacked without root; of a clone, or installed
    local file
    for file in "$QTAYLOR_HOME"/{build/,}env.sh; do
        # shellcheck source=/dev/null
        [ ! -e "$file" ] || source "$file"
    done
}

launch() { # launch ARGUMENTS...: the program on all tasks of the job; its exit code is told, and no more
    local command code=0 gpu=() settings=(--set "device=$DEVICE")
    [ "$DEVICE" = cpu ] || gpu=(--gpus-per-task=1) # mpirun's ranks see all of a node's GPUs, and take one by local rank
    case $LAUNCHER in
        srun) command=(srun --mpi=pmix --kill-on-bad-exit=0 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "${gpu[@]}"
            "${SRUN_OPTIONS[@]}") ;;
        mpirun) unpacked_mpirun
            command=(mpirun -n "$SLURM_NTASKS" "${MPIRUN_OPTIONS[@]}")
            [ "$DEVICE" != cpu ] || settings+=(--set "workers=${SLURM_CPUS_PER_TASK:-1}") ;;
        *) say "LAUNCHER=$LAUNCHER: expected srun or mpirun"; exit 64 ;;
    esac
    "${command[@]}" "${CONTAINER[@]}" "$PROGRAM" "$@" "${OVERRIDES[@]}" "${settings[@]}" &
    launcher=$!
    # A trap interrupts wait.
    while wait "$launcher"; code=$?; [ $code -gt 128 ] && kill -0 "$launcher" 2>/dev/null; do :; done
    launcher=
    say "$LAUNCHER ended with $code"
}

# Results (of a run or of a whole sweep) are complete when they are younger than every shard they are about.
concluded() { # concluded RUN RESULT
    local result=$1/$2
    [ -s "$result" ] && [ -z "$(find "$1" -name '*.npy.zst' -newer "$result" -print -quit)" ]
}

# SLURM forgets a job whose script ends while it is being preempted; so it is told to start it again, and then has to
# end it.
requeue() {
    local id=$SLURM_JOB_ID state
    [ -z "${SLURM_ARRAY_JOB_ID:-}" ] || id=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    state=$(squeue --noheader --jobs "$id" --format %T)
    if [ "$state" = RUNNING ]; then # else it was cancelled, or SLURM itself is requeueing it
        say "queued again"
        trap 'exit 75' TERM
        scontrol requeue "$id" || { say "scontrol requeue failed: submit again to continue"; exit 75; }
        sleep 600 & wait $!
    fi
    exit 75
}

# Incomplete, but is anything gained? A start that added no good file may have been cut short; three in a row are no
# accident.
gained() { # gained GOOD NOTE-FILE
    local before=0 idle=0
    [ ! -s "$2" ] || read -r before idle <"$2"
    if [ "$1" -gt "$before" ]; then idle=0; else idle=$((idle + 1)); fi
    echo "$1 $idle" >"$2" && [ $idle -lt 3 ]
}

# act_on_what_is_there RUN RESULT: never returns.
act_on_what_is_there() {
    local run=$1 report code=0 good note=$1/slurm-$SLURM_JOB_ID
    report=$(qtaylor verify "$run") || code=$?
    grep -v '^missing ' <<<"$report" # those are in the sum
    [ $code -ne 0 ] || concluded "$run" "$2" || { say "the samples are complete, $2 is not"; code=75; }
    good=$(awk '/ files good, / {sum += $1} END {print sum + 0}' <<<"$report")
    case $code in
        0) say "done and verified" ;;
        75)
            if [ "${SLURM_RESTART_COUNT:-0}" -ge "$MAX_RESTARTS" ]; then
                say "stopped: restarted $MAX_RESTARTS times; submit again to continue"
            elif ! gained "$good" "$note"; then
                say "stopped: three starts in a row added nothing to $good good files; the reason should stand above"
            else
                requeue
            fi ;;
        76) say "done, but some samples could not be made and are left out (quarantined): see above" ;;
        *) say "stopped: verify ended with $code" ;;
    esac
    [ ! -d "$run" ] || find "$run" -maxdepth 1 -type f -regex '.*/slurm-[0-9]+' -delete # the notes, no slurm-1.out
    exit $code
}

plan() { # what JOB makes, one line a run: number, cell, folder
    qtaylor plan "$JOB" "${OVERRIDES[@]}" --cells || { say "stopped: no plan for $JOB" >&2; exit 65; }
}

# Makes what is missing of JOB, or in a job array of the task's cell, and never returns.
qtaylor_job() {
    local run result=metrics.json one=()
    [ -n "${SLURM_JOB_ID:-}" ] || { say "this is a script for sbatch; by hand: qtaylor run $JOB"; exit 64; }
    list=$(plan) || exit
    if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
        one=(--cell "$SLURM_ARRAY_TASK_ID")
        list=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" <<<"$list")
        [ -n "$list" ] || { say "stopped: $JOB has no cell $SLURM_ARRAY_TASK_ID"; exit 65; }
    fi
    run=$(cut -f 3 <<<"$list")
    case $list in
        *$'\n'*) run=$(dirname "${run%%$'\n'*}") result=results.json ;;
    esac
    say "$JOB into $run: $SLURM_NTASKS ranks on $SLURM_JOB_NODELIST"
    launch run "$JOB" "${one[@]}"
    act_on_what_is_there "$run" "$result"
}
