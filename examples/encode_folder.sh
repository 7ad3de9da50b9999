#!/usr/bin/env bash
# Encode every video of a folder: skips what is complete, goes on after a failure, reports at the end.
#
#   examples/encode_folder.sh IN_FOLDER OUT_FOLDER [options of bcodec encode ...]
#   examples/encode_folder.sh holiday coded -q 40 --threads 4
#
# It runs $BCODEC (a program, or words such as "python -m bcodec") if that is set, else `bcodec`, else the one in
# .venv beside this folder, else `python3 -m bcodec`.
# holiday/day1.mp4 becomes coded/day1.mp4.bcv. Run it again to go on after an interruption. Exit status 1 if
# any video failed.
set -u
shopt -s nullglob nocaseglob

if [ $# -lt 2 ] || [ ! -d "$1" ]; then
  echo "usage: $0 IN_FOLDER OUT_FOLDER [options of bcodec encode ...]" >&2
  exit 2
fi
in_folder=$1 out_folder=$2
shift 2
videos=("$in_folder"/*.{mp4,mkv,mov,avi,webm,m4v,mpg,mpeg,ts,y4m})
if [ ${#videos[@]} -eq 0 ]; then
  echo "$0: there are no videos in $in_folder" >&2
  exit 1
fi
here=$(dirname "$(dirname "$(realpath "$0")")")
if [ -x "${BCODEC:-}" ]; then
  bcodec=("$BCODEC")
elif [ -n "${BCODEC:-}" ]; then
  read -ra bcodec <<<"$BCODEC"
elif command -v bcodec >/dev/null; then
  bcodec=(bcodec)
elif [ -x "$here/.venv/bin/python" ]; then
  bcodec=("$here/.venv/bin/python" -m bcodec)
elif python3 -m bcodec --version >/dev/null 2>&1; then
  bcodec=(python3 -m bcodec)
else
  echo "$0: bcodec is not installed; README.md says how, or set BCODEC to the program" >&2
  exit 1
fi
exec "${bcodec[@]}" encode --out-dir "$out_folder" "$@" -- "${videos[@]}"
