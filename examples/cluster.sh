#!/usr/bin/env bash
# Encode a video by several workers of a Dask scheduler, all on this machine: what --scheduler does, to try it out.
#
#   examples/cluster.sh WORKERS IN OUT.bcv [options of bcodec encode ...]
#   examples/cluster.sh 4 holiday.mp4 holiday.bcv -q 40
#
# It runs $PYTHON if that is set, else python3; that needs bcodec[cluster]. The scheduler listens at port $PORT, else
# 8786, of this machine alone. On several machines, leave --host out and start the workers on each of them.
set -u

if [ $# -lt 3 ]; then
  echo "usage: $0 WORKERS IN OUT.bcv [options of bcodec encode ...]" >&2
  exit 2
fi
workers=$1 source=$2 target=$3
shift 3
python=${PYTHON:-python3}
address=tcp://127.0.0.1:${PORT:-8786}
logs=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$logs"' EXIT

# A GOP of which two workers died is given up.
DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=1 "$python" -m distributed.cli.dask_scheduler \
  --host 127.0.0.1 --port "${address##*:}" --no-dashboard >"$logs/scheduler" 2>&1 &
# One thread each, as with --jobs. Each is a process of its own, that its nanny starts again where it is killed.
"$python" -m distributed.cli.dask_worker "$address" --nworkers "$workers" --nthreads 1 \
  --local-directory "$logs" --no-dashboard >"$logs/workers" 2>&1 &

# It waits a few seconds for the scheduler and the first worker; the others may come later.
"$python" -m bcodec encode "$source" -o "$target" "$@" --scheduler "$address"
